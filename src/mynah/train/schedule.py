"""The learning rate over a run: warm-up, stable, decay."""

from mynah.train.config import ScheduleConfig

__all__ = ["learning_rate_share", "run_share"]


def run_share(config: ScheduleConfig, *, step: int, elapsed_s: float) -> float:
    """Share of the run that is behind, in 0..1, by steps or by minutes, whichever is more."""
    by_time = elapsed_s / (60.0 * config.max_minutes)
    return min(1.0, max(step / config.num_steps, by_time))


def learning_rate_share(config: ScheduleConfig, *, step: int, share: float) -> float:
    """Learning rate as a share of its peak.

    Args:
        config: The schedule.
        step: Steps done so far, from 0.
        share: Of the run, as ``run_share`` gives it.
    """
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.decay_share <= 0.0 or share <= 1.0 - config.decay_share:
        return warm
    left = (1.0 - share) / config.decay_share
    return warm * (config.final_share + (1.0 - config.final_share) * left)
