"""The model of `prefjax.train` in PyTorch, to be timed beside it: MAP, a linear head.

The people are an ``nn.Embedding`` with sparse gradients under torch's Adagrad, the head an
``nn.Linear`` under its Adam; penalties, batches and rates are ours.
"""

import numpy as np


class TorchLoop:
    """Trains by `step` and tells the loss on other comparisons.

    Args:
        torch: The module, which is no dependency.
        data: Comparisons.
        embeddings: Of all responses.
        num_users: U.
        config: Of our run.
        batch: Comparisons a step.
        kernel: Where the head starts, [input, factor + 1].
    """

    def __init__(self, torch, data, embeddings, num_users, config, batch, kernel):
        self.torch, self.batch = torch, batch
        self.columns = [torch.from_numpy(np.ascontiguousarray(c)) for c in data]
        self.columns[:3] = [column.long() for column in self.columns[:3]]
        self.embeddings = torch.from_numpy(embeddings)
        model = config.step.model
        self.users = torch.nn.Embedding(num_users, model.num_factors, sparse=True)
        torch.nn.init.zeros_(self.users.weight)
        self.head = torch.nn.Linear(embeddings.shape[1], model.num_factors + 1, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(np.array(kernel.T)))
        count = np.bincount(data.user, minlength=num_users)
        self.share = torch.from_numpy((1 / np.maximum(count, 1)).astype(np.float32))
        centered = embeddings - embeddings.mean(0, keepdims=True)
        self.penalty = float(np.mean(np.sum(centered**2, axis=1))) / len(data.user)
        self.by_user = torch.optim.Adagrad(self.users.parameters(), lr=config.step.user_rate)
        self.by_head = torch.optim.Adam(self.head.parameters(), config.optimizer.learning_rate)
        self.generator = torch.Generator().manual_seed(0)
        self.order, self.t = None, 0

    def step(self):
        """One batch."""
        torch = self.torch
        if self.order is None or (self.t + 1) * self.batch > len(self.order):
            self.order = torch.randperm(len(self.columns[0]), generator=self.generator)
            self.t = 0
        rows = self.order[self.t * self.batch : (self.t + 1) * self.batch]
        self.t += 1
        user, first, second, label, _ = (column[rows] for column in self.columns)
        table = self.head(self.embeddings[first] - self.embeddings[second])
        weight = self.users(user)
        logit = (weight * table[:, :-1]).sum(1) + table[:, -1]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, label, reduction="sum")
        ridge = (self.share[user] * weight.square().sum(1)).sum()
        head = 0.5 * self.penalty * self.head.weight.square().sum()
        self.by_user.zero_grad()
        self.by_head.zero_grad()
        ((loss + 0.5 * ridge) / len(rows) + head).backward()
        self.by_user.step()
        self.by_head.step()

    def loss(self, data):
        """Loss per comparison, without penalties."""
        torch = self.torch
        with torch.no_grad():
            user, first, second = (torch.from_numpy(c).long() for c in data[:3])
            table = self.head(self.embeddings[first] - self.embeddings[second])
            logit = (self.users(user) * table[:, :-1]).sum(1) + table[:, -1]
            label = torch.from_numpy(data.label)
            return float(torch.nn.functional.binary_cross_entropy_with_logits(logit, label))
