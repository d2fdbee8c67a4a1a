"""What an organisation said about its alerts."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.alerts.kind import AlertKind


@dataclass(frozen=True, slots=True)
class OrgAlertChoices:
    """Everything has a default: an organisation that never said anything is told what matters, by e-mail."""

    levels: tuple[int, ...] | None = None
    """Percent. None: those of limits.yaml, else the installation's."""
    low_balance: int | None = None
    """Microcredits. None: that of limits.yaml, else none."""
    email: bool = True
    sms: bool = False
    daily_summary: bool = True
    monthly_statement: bool = True
    spend_anomaly: bool = True
    summary_hour: int | None = None
    """In the organisation's zone. None: the installation's."""

    def wants(self, kind: AlertKind) -> bool:
        return {
            AlertKind.DAILY_SUMMARY: self.daily_summary,
            AlertKind.MONTHLY_STATEMENT: self.monthly_statement,
            AlertKind.SPEND_ANOMALY: self.spend_anomaly,
        }.get(kind, True)
