"""k-means as one pure program: a traced number of clusters, and points that do not count.

    min_c Σ_{i present} min_k ‖x_i − c_k‖²

References:
    Arthur and Vassilvitskii (2007), k-means++.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from prefjax.types import Array, PRNGKey


def squared_distances(
    points: Float[Array, "point code"], centers: Float[Array, "cluster code"]
) -> Float[Array, "point cluster"]:
    """‖x − c‖² of every point and center."""
    return jnp.sum(jnp.square(points[:, None, :] - centers[None, :, :]), axis=-1)


def members(
    cluster: Int[Array, " point"], present: Bool[Array, " point"], num_clusters: int
) -> Float[Array, "point cluster"]:
    """1 where a point that counts is in a cluster."""
    return jnp.where(present[:, None], jax.nn.one_hot(cluster, num_clusters), 0.0)


def draw_index(
    key: PRNGKey, log_weight: Float[Array, " point"], present: Bool[Array, " point"]
) -> Int[Array, ""]:
    """One point at random; points that do not count change nothing.

    Args:
        key: Seed of the draw.
        log_weight: Log odds of each point.
        present: The points that count.
    """
    rank = jnp.maximum(jnp.cumsum(present) - 1, 0)
    noise = jax.vmap(lambda place: jax.random.gumbel(jax.random.fold_in(key, place)))(rank)
    return jnp.argmax(jnp.where(present, log_weight + noise, -jnp.inf))


def k_means(
    key: PRNGKey,
    points: Float[Array, "point code"],
    num_clusters: Int[Array, ""] | int,
    present: Bool[Array, " point"],
    *,
    max_clusters: int,
    num_restarts: int,
    num_steps: int = 25,
) -> Int[Array, " point"]:
    """Cluster of every point: Lloyd's steps from k-means++ starts, the best of several.

    Args:
        key: Draws the starts.
        points: One row a point.
        num_clusters: K, at most ``max_clusters``; may be traced.
        present: The points that count; the others get the cluster that is nearest in the end.
        max_clusters: Size of the tables, static.
        num_restarts: Starts, static.
        num_steps: Lloyd's steps, static.
    """
    absent = (jnp.arange(max_clusters) >= num_clusters)[None, :]

    def distances(centers):
        return jnp.where(absent, jnp.inf, squared_distances(points, centers))

    def restart(key):
        first_key, key = jax.random.split(key)
        first = draw_index(first_key, jnp.zeros(len(points)), present)
        centers = jnp.broadcast_to(points[first], (max_clusters, points.shape[1]))
        nearest = squared_distances(points, points[first][None])[:, 0]

        def spread(carry, xs):
            centers, nearest = carry
            place, key = xs
            chosen = draw_index(key, jnp.log(nearest + 1e-12), present)
            centers = centers.at[place].set(points[chosen])
            distance = squared_distances(points, points[chosen][None])[:, 0]
            return (centers, jnp.minimum(nearest, distance)), None

        places = jnp.arange(1, max_clusters)
        keys = jax.random.split(key, max_clusters)[1:]
        (centers, _), _ = jax.lax.scan(spread, (centers, nearest), (places, keys))

        def lloyd(centers, _):
            member = members(jnp.argmin(distances(centers), axis=1), present, max_clusters)
            count = member.sum(0)[:, None]
            mean = member.T @ points / jnp.maximum(count, 1)
            return jnp.where(count > 0, mean, centers), None

        centers, _ = jax.lax.scan(lloyd, centers, None, length=num_steps)
        reached = distances(centers)
        return jnp.argmin(reached, axis=1), present @ jnp.min(reached, axis=1)

    cluster, inertia = jax.vmap(restart)(jax.random.split(key, num_restarts))
    return cluster[jnp.argmin(inertia)]
