// Vercel's AI SDK, through the Responses API (its default) and through chat: text, stream, tools and an object. Prints what came back as JSON.
import { createOpenAI } from "@ai-sdk/openai";
import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

globalThis.AI_SDK_LOG_WARNINGS = false;
const openai = createOpenAI({ baseURL: process.argv[2], apiKey: "none" });
const prompt = "When is the interview?";
const interview = tool({
  description: "The interviews of a day.",
  inputSchema: z.object({ day: z.string() }),
  execute: async ({ day }) => `${day} at nine`,
});
const agent = { tools: { interview }, stopWhen: stepCountIs(3) };
const schema = z.object({ day: z.string(), hour: z.number() });
const found = {};

async function whole(stream) {
  let text = "";
  for await (const part of stream.textStream) text += part;
  return text;
}

for (const [name, model] of [["responses", openai("champion")], ["chat", openai.chat("champion")]]) {
  found[name] = (await generateText({ model, prompt })).text;
  found[`${name}_stream`] = await whole(streamText({ model, prompt }));
  const stepped = await generateText({ model, prompt, ...agent });
  found[`${name}_tools`] = [stepped.steps.length, stepped.text];
  found[`${name}_tools_stream`] = await whole(streamText({ model, prompt, ...agent }));
  found[`${name}_object`] = (await generateObject({ model, prompt, schema })).object;
}
process.stdout.write(JSON.stringify(found));
