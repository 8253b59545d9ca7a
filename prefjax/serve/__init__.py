"""A fitted reward for others to call: folders that the field's tools load.

``export_folder`` writes a linear head over a language model as a Hugging Face reward model.
"""

from prefjax.serve.hf_folder import export_folder, score_kernel

__all__ = ["export_folder", "score_kernel"]
