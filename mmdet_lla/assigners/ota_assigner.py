r"""OTAAssigner: optimal transport assignment.

Sinkhorn's algorithm runs on candidate pairs only. The result is that of the full tables because a
constant on all costs of a prior cancels, so the background cost can be subtracted and become 0; and
pairs that are no candidates cost 1e6 more and carry no mass, exp(-1e6 / eps) = 0, so priors without
a candidate pair are all alike and only their number matters. A gt without candidates pays the 1e6
everywhere, which its potential cancels in the first iteration. Potentials are relative to that of
the background.
"""

from dataclasses import KW_ONLY, dataclass

import torch
from mmdet.registry import TASK_UTILS
from torch import Tensor

from .base import ImageInputs, PredictionAssigner
from .costs import focal_loss, iou_cost
from .geometry import is_inside, is_near_center, pair_iou
from .inputs import IGNORE, PRIOR_FORMS, SCORE_FORMS, check_settings, is_count

CHOICES = dict(prior_form=PRIOR_FORMS, score_form=SCORE_FORMS, ignore=IGNORE)

#: Added to supply and demand under the logarithm (reference code, ``SinkhornDistance``).
MARGINAL_EPS = 1e-8

#: Potential of a gt that takes no part in an iteration.
ABSENT = -1e9


@TASK_UTILS.register_module()
@dataclass(eq=False)
class OTAAssigner(PredictionAssigner):
    r"""Optimal transport assignment (`OTA <https://arxiv.org/abs/2103.14259>`_, section 3).

    The rule of the released code (Megvii-BaseDetection/OTA). A prior is a candidate of a gt if it
    is inside the gt by more than 0.01 px and less than ``center_radius`` strides, in x and in y,
    from its center. A pair costs ``cls_weight * focal + reg_weight * (-log IoU)``, and 1e6 more if
    it is no candidate; background costs ``cls_weight * focal`` of no class. A gt supplies K priors,
    the sum of its ``candidate_topk`` largest IoUs with candidates, rounded down, at least 1; the
    background supplies the rest. ``sinkhorn_iters`` iterations of Sinkhorn's algorithm give a
    transport plan. Each supplier's row is divided by its largest entry, and every prior goes to the
    supplier with the largest quotient, the first of equal ones. Four details follow the released
    code and may surprise: the iterations do not converge; a gt may get more or fewer than K
    priors, or none if an earlier one has the same best prior; a gt without candidates competes for
    any prior; the assignment uses -log IoU even if the head's box loss is another.

    Where the released code fails, this one does not: if the K of the gts sum to more than the
    number of priors, the background supplies nothing; with fewer than ``candidate_topk`` priors, K
    sums over those there are.

    Args:
        candidate_topk (int): Number of IoUs that a gt's K sums. Defaults to 20.
        center_radius (float): Largest distance of candidates from the gt's center, in strides.
            Defaults to 2.5.
        cls_weight (float): Weight of the class cost. Defaults to 1.0.
        reg_weight (float): Weight of the box cost. Defaults to 1.5.
        sinkhorn_eps (float): Epsilon, the weight of entropy: the larger, the softer the plan.
            Defaults to 0.1.
        sinkhorn_iters (int): Iterations of Sinkhorn's algorithm. Defaults to 50.
        prior_form (str): What ``pred_instances.priors`` holds. 'points': (n, 4), points with
            strides ``x y stride_x stride_y``; 'boxes', 'auto': (n, 4), anchor boxes ``x1 y1 x2
            y2`` of 8 strides, represented by their center, with an eighth of the root of their
            area as stride (the authors on anchors, issue 4 of their repository). Defaults to
            'auto'.
        score_form (str): Whether ``pred_instances.scores`` holds 'logits' or 'probs'
            (probabilities). Defaults to 'logits'.
        ignore (str): Use of ignore boxes, as in :class:`LLA`. 'compete': they compete like gts of
            class 0, and the priors they win are marked -1; 'overlap': priors covered by one for
            more than ``ignore_iof_thr`` of their area (anchor boxes) or lying inside one (points)
            are marked -1 and demand nothing; 'unused': none. Defaults to 'compete'.
        ignore_iof_thr (float): See ``ignore``. Defaults to 0.5.

    Raises:
        ValueError: If an argument is out of its range.

    >>> OTAAssigner(sinkhorn_iters=10).view.priors
    'boxes'
    """

    needs_strides = True

    candidate_topk: int = 20
    center_radius: float = 2.5
    cls_weight: float = 1.0
    reg_weight: float = 1.5
    sinkhorn_eps: float = 0.1
    sinkhorn_iters: int = 50
    prior_form: str = 'auto'
    score_form: str = 'logits'
    _: KW_ONLY
    ignore: str = 'compete'
    ignore_iof_thr: float = 0.5

    def __post_init__(self) -> None:
        infinity = float('inf')
        checks = dict(ignore_iof_thr=(0 <= self.ignore_iof_thr < 1, 'in [0, 1)'))
        for name in ('center_radius', 'sinkhorn_eps'):
            checks[name] = (0 < getattr(self, name) < infinity, 'finite and > 0')
        for name in ('candidate_topk', 'sinkhorn_iters'):
            checks[name] = (is_count(getattr(self, name)), 'an int >= 1')
        for name in ('cls_weight', 'reg_weight'):
            checks[name] = (0 <= getattr(self, name) < infinity, 'finite and >= 0')
        for name, allowed in CHOICES.items():
            checks[name] = (getattr(self, name) in allowed, f'one of {allowed}')
        check_settings(type(self).__name__, checks, vars(self))

    def match_image(self, image: ImageInputs) -> Tensor:
        """See :meth:`PredictionAssigner.match_image`."""
        num_priors, allowed = image.preds.size(1), image.allowed
        gts, points = image.gts.unsqueeze(-1), image.priors.points  # (5, num_gts, 1), (2, n)
        radius = image.priors.radius(self.center_radius)
        candidates = allowed & is_inside(gts, points) & is_near_center(gts, points, radius)
        # A gt without candidates competes for any prior, from the second iteration on.
        late = ~candidates.any(1)  # (num_gts,)
        gt, prior = (candidates | (late[:, None] & allowed)).nonzero(as_tuple=True)

        preds, true = image.preds.index_select(1, prior), image.gts.index_select(1, gt)
        ious = torch.zeros_like(candidates, dtype=torch.float32)
        ious[gt, prior] = pair_iou(preds, true)
        ious.masked_fill_(late[:, None], 0)
        topk = min(self.candidate_topk, num_priors)
        supply = ious.topk(topk, dim=1).values.double().sum(1).long().clamp(min=1)  # (num_gts,)

        # What a pair costs less than leaving its prior to background, over epsilon.
        loss = focal_loss(0.25, 2.0, self.score_form, self.cls_weight)
        scores = image.scores[prior, image.gt_labels[gt]]
        cost = iou_cost(preds, true).mul_(self.reg_weight)
        cost.add_(loss.positive(scores).sub_(loss.negative(scores)))
        gain = cost.double().div_(-self.sinkhorn_eps)
        return transport(gt, prior, gain, supply, late, allowed, self.sinkhorn_iters)


def transport(
    gt: Tensor,
    prior: Tensor,
    gain: Tensor,
    supply: Tensor,
    late: Tensor,
    allowed: Tensor,
    num_iters: int,
) -> Tensor:
    """Run Sinkhorn's iterations in float64 and match each prior to a supplier.

    Args:
        gt, prior (Tensor): Indices of the pairs that may carry mass, int64, (num_pairs,).
        gain (Tensor): What a pair costs less than leaving its prior to background, divided by
            epsilon, float64, (num_pairs,).
        supply (Tensor): K of each gt, int64, (num_gts,).
        late (Tensor): Gts that take no part in the first iteration, bool, (num_gts,).
        allowed (Tensor): Priors that demand a supplier, bool, (num_priors,).
        num_iters (int): Number of iterations, at least 1.

    Returns:
        Tensor: Index of the gt of each prior, -1 for background, int64, (num_priors,).
    """
    num_gts, num_priors = len(supply), len(allowed)
    matched = torch.full((num_priors,), -1, device=gt.device)
    if not len(gt):
        return matched
    # Only priors with a pair need a column of their own.
    columns, column = prior.unique(return_inverse=True)
    num_columns, num_allowed = len(columns), allowed.sum()
    num_others = num_allowed - num_columns
    log_supply = (supply + MARGINAL_EPS).log()
    log_rest = ((num_allowed - supply.sum()).clamp(min=0) + MARGINAL_EPS).double().log()
    potential = torch.where(late, ABSENT, 0.0).double()  # of the gts
    for _ in range(num_iters):
        # The background entry of every column is exp(0).
        dual = _log_sum_exp(potential[gt] + gain, column, num_columns, plus_one=True).neg_()
        value = dual[column].add_(gain)
        row = _log_sum_exp(value, gt, num_gts)
        background = (dual.exp().sum() + num_others).log()
        potential = (log_supply - row) - (log_rest - background)
    # Quotients, as logarithms: exactly 0 at the largest entry of a row.
    top = torch.full_like(row, -torch.inf).scatter_reduce_(0, gt, value, 'amax')
    quotient = value - top[gt]
    background = dual - torch.where(num_others > 0, 0.0, dual.max())
    # The largest quotient of each column, the first of equal ones, background last.
    best = background.scatter_reduce(0, column, quotient, 'amax')
    first = torch.where(quotient == best[column], gt, num_gts)
    winner = torch.full_like(columns, num_gts).scatter_reduce_(0, column, first, 'amin')
    matched[columns] = torch.where(winner < num_gts, winner, -1)
    return matched


def _log_sum_exp(values: Tensor, index: Tensor, size: int, plus_one: bool = False) -> Tensor:
    """Compute the logarithm of the sum of ``exp(values)`` per index, and of 1 more if asked.

    Every index occurs. The largest entry is factored out of each sum first.
    """
    top = values.new_full((size,), 0.0 if plus_one else -torch.inf)
    top.scatter_reduce_(0, index, values, 'amax')
    total = (-top).exp_() if plus_one else torch.zeros_like(top)
    total.index_add_(0, index, (values - top[index]).exp_())
    return total.log_().add_(top)
