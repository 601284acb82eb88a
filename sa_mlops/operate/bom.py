"""The bill of materials of a version: CycloneDX 1.6 with a model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sa_mlops.registry import signing
from sa_mlops.registry.version import Version


def bom(version: Version, results: Mapping[str, float], statement: Mapping[str, Any]) -> str:
    """The bill of materials as JSON.

    Parameters
    ----------
    results : the metrics of the model card.
    statement : the predicate of the certificate: lineage, data, packages, limits of the claims.
    """
    with signing.packages():
        from cyclonedx.model import HashAlgorithm, HashType
        from cyclonedx.model.bom import Bom
        from cyclonedx.model.component import Component, ComponentType
        from cyclonedx.output import make_outputter
        from cyclonedx.schema import OutputFormat, SchemaVersion
        from packageurl import PackageURL

        def model(entry: Mapping[str, Any]) -> Component:
            name, number = entry["uri"].removeprefix("models:/").split("/")
            hashes = (
                [HashType(alg=HashAlgorithm.SHA_256, content=entry["weights"])] if entry["weights"] else []
            )
            return Component(
                type=ComponentType.MACHINE_LEARNING_MODEL, name=name, version=number, bom_ref=entry["uri"],
                description=entry["title"], hashes=hashes,
            )  # fmt: skip

        made = Bom()
        entries = {entry["uri"]: model(entry) for entry in statement["lineage"]}
        subject = entries.pop(version.uri)
        pinned = statement["data"]
        data = Component(
            type=ComponentType.DATA, name=pinned["name"] or "unknown", version=pinned["md5"], bom_ref="data"
        )
        packages = []
        for line in statement["environment"]["packages"]:
            name, _, number = line.partition("==")
            purl = PackageURL("pypi", name=name, version=number)
            packages.append(
                Component(type=ComponentType.LIBRARY, name=name, version=number, bom_ref=line, purl=purl)
            )
        made.metadata.component = subject
        for component in (*entries.values(), data, *packages):
            made.components.add(component)
        made.register_dependency(subject, [*entries.values(), data, *packages])
        text = make_outputter(made, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string()
    document = json.loads(text)
    # The package has no model cards yet.
    document["metadata"]["component"]["modelCard"] = _card(version, results, statement)
    return json.dumps(document, indent=1) + "\n"


def _card(version: Version, results: Mapping[str, float], statement: Mapping[str, Any]) -> dict[str, Any]:
    metrics = []
    for name, value in results.items():
        if name.endswith((".low", ".high")):
            continue
        metric: dict[str, Any] = {"type": name, "value": repr(value)}
        if f"{name}.low" in results and f"{name}.high" in results:
            bounds = {"lowerBound": repr(results[f"{name}.low"]), "upperBound": repr(results[f"{name}.high"])}
            metric["confidenceInterval"] = bounds
        metrics.append(metric)
    return {
        "modelParameters": {
            "task": "class-conditional image generation",
            "architectureFamily": "conditional variational autoencoder",
            "modelArchitecture": version.net,
            "datasets": [{"ref": "data"}],
            "inputs": [{"format": "name or number of a class"}],
            "outputs": [{"format": "image, float32 in [0, 1]"}],
        },
        "quantitativeAnalysis": {"performanceMetrics": metrics},
        "considerations": {
            "useCases": statement["claimed"],
            "technicalLimitations": [f"not claimed: {line}" for line in statement["notClaimed"]],
        },
    }
