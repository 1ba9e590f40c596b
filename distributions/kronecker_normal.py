"""Normals over a matrix whose covariance has eigenvectors that are Kronecker products."""

import math

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Independent, Normal, constraints
from torch.distributions.kl import register_kl


class KroneckerNormal(TorchDistribution):
    """W = loc + U_L (noise / sqrt(precision)) U_R^T for each group, noise standard normal.

    Along column i of U_L and column j of U_R the precision is `precision[i, j]`. Where it is
    c_ij = l_i r_j + d, the precision matrix of all elements is the Kronecker product of
    U_L diag(l) U_L^T and U_R diag(r) U_R^T, plus d times the identity: a Kronecker-factored
    curvature with the exact sum of an isotropic prior's.

    A tensor is a matrix of shape (groups, units, columns): its first axis is split into groups,
    and the units are what is left of that axis, or the second axis if `transposed`. All other axes
    are the columns.

    :param loc: means; their shape is the event shape.
    :param precision: positive, shape (groups, units, columns).
    :param left: U_L, orthogonal, shape (groups, units, units); None: the identity.
    :param right: U_R, orthogonal, shape (groups, columns, columns); None: the identity.
    :param transposed: whether the second axis of `loc` holds the units; else the first does.
    """

    arg_constraints = {}  # noqa: RUF012  (torch's own convention)
    has_rsample = True

    def __init__(
        self,
        loc: Tensor,
        precision: Tensor,
        left: Tensor | None = None,
        right: Tensor | None = None,
        transposed: bool = False,
    ):
        self.loc, self.precision, self.left, self.right = loc, precision, left, right
        self.transposed = transposed
        super().__init__(event_shape=loc.shape, validate_args=False)

    @constraints.dependent_property(is_discrete=False)
    def support(self):
        return constraints.independent(constraints.real, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The marginal variances, shape of `loc`."""
        matrix = 1 / self.precision
        if self.left is not None:
            matrix = self.left.square() @ matrix
        if self.right is not None:
            matrix = matrix @ self.right.square().mT
        return self._tensor(matrix)

    def rsample(self, sample_shape=torch.Size()):  # noqa: B008  (torch's own signature)
        shape = (*sample_shape, *self.precision.shape)
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        matrix = noise * self.precision.rsqrt()
        if self.left is not None:
            matrix = self.left @ matrix
        if self.right is not None:
            matrix = matrix @ self.right.mT
        return self.loc + self._tensor(matrix)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats, shape `value.shape` without the event's."""
        matrix = self._matrix(value - self.loc)
        if self.left is not None:
            matrix = self.left.mT @ matrix
        if self.right is not None:
            matrix = matrix @ self.right
        squares = (self.precision * matrix.square()).sum((-3, -2, -1))
        return 0.5 * (self.precision.log().sum() - squares - self._log_2_pi())

    def entropy(self) -> Tensor:
        """Nats, a scalar."""
        return 0.5 * (self._log_2_pi() + self.loc.numel() - self.precision.log().sum())

    def _log_2_pi(self) -> float:
        return self.loc.numel() * math.log(2 * math.pi)

    def _matrix(self, value: Tensor) -> Tensor:
        """Tensors of the event shape as matrices."""
        batch = value.dim() - self.loc.dim()
        blocks = value.unflatten(batch, (len(self.precision), -1))
        if self.transposed:
            blocks = blocks.transpose(batch + 1, batch + 2)
        return blocks.flatten(batch + 2)

    def _tensor(self, matrix: Tensor) -> Tensor:
        """Matrices as tensors of the event shape."""
        batch, shape = matrix.shape[:-3], self.loc.shape
        if not self.transposed:
            return matrix.reshape(*batch, *shape)
        groups, units = matrix.shape[-3:-1]
        blocks = matrix.reshape(*batch, groups, units, shape[0] // groups, *shape[2:])
        return blocks.transpose(len(batch) + 1, len(batch) + 2).reshape(*batch, *shape)


@register_kl(KroneckerNormal, Independent)
def _kl_normal(q: KroneckerNormal, p: Independent) -> Tensor:
    """KL(q || p) in nats, a scalar, to independent normals N(m, s^2) of the same event shape:

        sum [log s + (variance + (loc - m)^2) / (2 s^2) - 1/2] + sum log(precision) / 2,

    variance the marginal ones, as the eigenvectors leave the determinant alone.
    """
    normal = p.base_dist
    if not isinstance(normal, Normal) or p.batch_shape or p.event_shape != q.event_shape:
        raise NotImplementedError
    ratio = (q.variance + torch.square(q.loc - normal.loc)) / torch.square(normal.scale)
    return (normal.scale.log() + 0.5 * (ratio - 1)).sum() + 0.5 * q.precision.log().sum()
