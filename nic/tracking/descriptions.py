"""What the registry's pages say of a model and of its versions."""

from mlflow.tracking import MlflowClient

from nic.tracking.registry import RegisteredVersion

LONGEST_CARD = 5000  # characters of the description's column
CUT = "\n\nCut here; the whole card is among the artifacts of the run."


def describe_version(version: RegisteredVersion, card: str) -> None:
    """Show a model card (Markdown) on the version's page, cut at the length of the registry's column."""
    if len(card) > LONGEST_CARD:
        beginning, _, _ = card[: LONGEST_CARD - len(CUT)].rpartition("\n")
        card = beginning + CUT
    MlflowClient().update_model_version(version.name, version.version, description=card)


def describe_model(name: str, text: str) -> None:
    """Show a text (Markdown) on the page of a registered model, unless somebody has described it."""
    client = MlflowClient()
    if not client.get_registered_model(name).description:
        client.update_registered_model(name, text)
