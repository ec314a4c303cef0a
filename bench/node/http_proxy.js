// http-proxy with kept connections: node http_proxy.js PORT UPSTREAM_PORT, with NODE_PATH where the package is.
const http = require("node:http");
const { createProxyServer } = require("http-proxy");

const [port, upstream] = process.argv.slice(2).map(Number);
const agent = new http.Agent({ keepAlive: true, maxSockets: 256 });
createProxyServer({ target: `http://127.0.0.1:${upstream}`, agent }).listen(port, "127.0.0.1");
