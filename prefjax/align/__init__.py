"""Acting on a reward: responses that one person prefers, and judges that say whether they do.

best_of_n     the best of N responses for many people at once; KL bound, regret, curves in N
heads         value and advantage heads over the states and tokens of a language model
temporal      their training; ``samples`` draws and reads responses, ``teach`` does all of it
decode        value-augmented decoding, each row of a batch for its own person
blockwise     the best of K continuations, block after block
strength      the β that gives a wanted KL
robust        answers for several directions near a person's
question      the two responses whose comparison says most about a person
judges        who wins: servers, language models, simulated judges
simulation    simulated people served by a language model, for the experiments
"""
