"""The representations in which a route's clients see a process, one module each; chosen by `process.contract`.

What is stored is the same for all, and nothing of a dialect stands outside its module. A new one is a module with a
`Contract`, its name in `policy.model.ContractName` and in the schema, and a line here.
"""

from __future__ import annotations

from strangler.gateway.contracts.azure import Azure
from strangler.gateway.contracts.contract import Contract, Standing
from strangler.gateway.contracts.native import Native
from strangler.policy.model import ContractName, ProcessPolicy

__all__ = ["Contract", "Standing", "contract_of"]


def contract_of(policy: ProcessPolicy) -> Contract:
    """The contract that a route's processes are promised in."""
    return _CONTRACTS[policy.contract]


_CONTRACTS: dict[ContractName, Contract] = {"native": Native(), "azure": Azure()}
