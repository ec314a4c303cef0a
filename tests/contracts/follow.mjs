// Follows one process with @azure/core-lro, as a generated client does; prints what it came to as JSON.
import { createHttpPoller } from "@azure/core-lro";
import {
  createDefaultHttpClient,
  createEmptyPipeline,
  createPipelineRequest,
  redirectPolicy,
} from "@azure/core-rest-pipeline";

const [method, url, script] = process.argv.slice(2);
const http = createDefaultHttpClient();
const pipeline = createEmptyPipeline();
pipeline.addPolicy(redirectPolicy());

async function send(method, url, headers = {}, body = undefined) {
  const request = createPipelineRequest({ url, method, body, allowInsecureConnection: true });
  for (const [name, value] of Object.entries({ "x-api-key": "alice", ...headers })) request.headers.set(name, value);
  const response = await pipeline.sendRequest(http, request);
  const parsed = response.bodyAsText ? JSON.parse(response.bodyAsText) : undefined;
  const told = response.headers.toJSON();
  return {
    flatResponse: { body: parsed, headers: told },
    rawResponse: { statusCode: response.status, headers: told, body: parsed, request: { method, url } },
  };
}

const poller = createHttpPoller(
  {
    sendInitialRequest: () =>
      send(method, url, { "content-type": "application/json", "x-legacy": script }, JSON.stringify({ amount: 12 })),
    sendPollRequest: (path) => send("GET", path),
  },
  { intervalInMs: 50 },
);
try {
  const result = await poller.pollUntilDone();
  console.log(JSON.stringify({ status: poller.operationState.status, result }));
} catch (error) {
  console.log(JSON.stringify({ status: poller.operationState?.status ?? "none", error: error.message }));
}
