// @fastify/reply-from as its documentation has it: node reply_from.js PORT UPSTREAM_PORT, with NODE_PATH.
const fastify = require("fastify");
const replyFrom = require("@fastify/reply-from");

const [port, upstream] = process.argv.slice(2).map(Number);
const app = fastify();
app.register(replyFrom, { base: `http://127.0.0.1:${upstream}` });
app.all("/*", (request, reply) => reply.from(request.raw.url));
app.listen({ port, host: "127.0.0.1" });
