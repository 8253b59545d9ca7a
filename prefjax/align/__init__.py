"""Acting on a reward: responses that one person prefers, and judges that say whether they do."""
