"""The patient networks by name, before their training."""

from collections.abc import Sequence

from nic.patients.attention_mil import AttentionMIL
from nic.patients.choices import NetworkName
from nic.patients.context_mil import ContextMIL
from nic.patients.crop_cnn import CropCNN, halvings_for
from nic.patients.crops import PatientCells, some_codes
from nic.patients.glimpses import Glimpses
from nic.patients.grid_cnn import GridCNN
from nic.patients.networks import PatientNetwork
from nic.patients.pooled_linear import PooledLinear
from nic.patients.pooling_mil import MaxMIL, MeanMIL


def untrained(name: NetworkName, cells: Sequence[PatientCells], outputs: int) -> PatientNetwork:
    """A network with random first weights, which standardises codes by those of its training patients.

    outputs: C, how many scores it gives.
    """
    _, code_size = cells[0].slides[0].codes_shape
    network: PatientNetwork
    match name:
        case "grid-cnn":
            network = GridCNN(code_size, outputs=outputs)
        case "context-mil":
            network = ContextMIL(code_size, outputs=outputs)
        case "attention-mil":
            network = AttentionMIL(code_size, outputs=outputs)
        case "mean-mil":
            network = MeanMIL(code_size, outputs=outputs)
        case "max-mil":
            network = MaxMIL(code_size, outputs=outputs)
        case "glimpses":
            network = Glimpses(code_size, outputs=outputs)
        case "crop-cnn":
            network = CropCNN(code_size, halvings_for(cells), outputs=outputs)
        case "pooled-linear":
            network = PooledLinear(code_size, outputs=outputs)
    network.start_from(some_codes(cells))
    return network
