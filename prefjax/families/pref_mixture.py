"""PReF whose population is a mixture of Gaussians: a prior of prototypes.

    s = λ_u·(φ_a − φ_b) + t_a − t_b,    λ_u ~ Σ_k π_k N(μ_k, Σ_k)

The fit is `prefjax.families.pref`, after which `prefjax.basis.mixture` fits up to eight Gaussians
to what is known of the training people, as many as held-out people call for. With one it is
``pref``; with covariances of zero it is groups whose members are alike, as those of
`prefjax.families.clusters` are. Without answers a person is predicted by the mixture's mean.

Not in the registry, as a fit takes twice as long as ``pref``: in a comparison its name is
``prefjax.families.pref_mixture:PREF_MIXTURE``.

References:
    Prototypes of people as a prior: P-GenRM. The mixture is `prefjax.basis.mixture`'s.
"""

from dataclasses import replace

from prefjax.basis import EMConfig
from prefjax.families.pref import PREF

PREF_MIXTURE = PREF._replace(
    name="pref-mixture",
    config=replace(PREF.config, em=EMConfig(population="mixture")),
)
