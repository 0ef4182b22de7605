// Judges manifests of the Gateway API, a JSON list on stdin, with the schemas of its CRDs in kubernetes-models; a line for each complaint.
// Those let unknown names pass. So each value is put in once more as what it cannot be: no complaint about that means no such name.
import { readFileSync } from "node:fs";
import * as models from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1";

function complaints(manifest) {
  try {
    new models[manifest.kind](manifest).validate();
    return [];
  } catch (error) {
    return error.errors ?? [error];
  }
}

function* values(node, path = []) {
  if (node === null || typeof node !== "object") yield path;
  else for (const key of Object.keys(node)) yield* values(node[key], [...path, key]);
}

for (const manifest of JSON.parse(readFileSync(0, "utf8"))) {
  for (const { instancePath, message, keyword } of complaints(manifest)) console.log(`${instancePath}: ${message ?? keyword}`);
  for (const path of values(manifest.spec, ["spec"])) {
    const changed = structuredClone(manifest);
    const pointer = `/${path.map((key) => key.replaceAll("~", "~0").replaceAll("/", "~1")).join("/")}`;
    path.slice(0, -1).reduce((node, key) => node[key], changed)[path.at(-1)] = { "": "" };
    if (!complaints(changed).some(({ instancePath }) => instancePath === pointer)) console.log(`${pointer}: unknown`);
  }
}
