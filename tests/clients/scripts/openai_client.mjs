// OpenAI's client for Node: chat, stream, a schema, tools, responses, completions, embeddings and models. Prints what came back as JSON.
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none", maxRetries: 0 });
const model = "champion";
const messages = [{ role: "user", content: "When is the interview?" }];
const parameters = { type: "object", properties: { day: { type: "string" } } };
const found = {};

found.chat = (await client.chat.completions.create({ model, messages })).choices[0].message.content;

found.stream = "";
for await (const chunk of await client.chat.completions.create({ model, messages, stream: true, stream_options: { include_usage: true } })) {
  found.stream += chunk.choices[0]?.delta?.content ?? "";
  if (chunk.usage) found.usage = chunk.usage.total_tokens;
}

const slot = zodResponseFormat(z.object({ day: z.string(), hour: z.number() }), "slot");
found.parsed = (await client.chat.completions.parse({ model, messages, response_format: slot })).choices[0].message.parsed;

const interview = { name: "interview", description: "The interviews of a day.", parse: JSON.parse, parameters };
const called = { type: "function", function: { ...interview, function: ({ day }) => `${day} at nine` } };
found.tools = await client.chat.completions.runTools({ model, messages, stream: true, tools: [called] }).finalContent();

found.response = (await client.responses.create({ model, input: "When?" })).output_text;
const stream = client.responses.stream({ model, input: "When?", tools: [{ type: "function", name: "interview", strict: false, parameters }] });
const kinds = new Set();
for await (const event of stream) kinds.add(event.type);
found.events = [...kinds];
found.call = (await stream.finalResponse()).output[0];

found.completion = (await client.completions.create({ model, prompt: "When?" })).choices[0].text;
found.embedding = (await client.embeddings.create({ model: "all-MiniLM-L6-v2", input: "hello" })).data[0].embedding.length;
found.models = (await client.models.list()).data.map((each) => each.id);
process.stdout.write(JSON.stringify(found));
