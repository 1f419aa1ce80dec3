// Our client for TypeScript, compiled: a chat, feedback, and refusals. Prints what came back as JSON.
import { FeedbackLoop } from "./dist/index.js";

const loop = new FeedbackLoop({ baseUrl: process.argv[2] });
const recruiter = "Ada";
const once = { idempotencyKey: crypto.randomUUID() };
const prompt = [{ role: "user", content: "When is the interview?" }];
const found = {};

async function refusal(asked) {
  try {
    await asked;
  } catch (error) {
    return error;
  }
  throw new Error("not refused");
}

const reply = await loop.chat({ messages: prompt });
found.chat = reply.choices[0].message.content;
const rated = { recruiter, thumb: "up", reply_id: reply.feedbackloop.reply_id };
const thumb = await loop.thumb(rated, once);
found.thumb = thumb.status;
found.repeated = (await loop.thumb(rated, once)).event_id === thumb.event_id;
const pair = await loop.pair({ prompt, responses: ["On Monday.", "Soon."] });
found.pair = pair.status;
found.compare = (await loop.compare({ recruiter, pair_id: pair.pair_id, choice: "A" })).status;
found.edit = (await loop.edit({ recruiter, edited: "On Monday at nine.", prompt, original: "Soon." })).status;
found.withdraw = (await loop.withdraw({ recruiter, pair_id: pair.pair_id })).status;
found.outcome = (await loop.outcome({ candidate: "c-1", groups: { sex: "female" } })).status;
const refused = await refusal(loop.chat({ model: "nothing", messages: prompt }));
found.refused = [refused.status, refused.code, refused.param];
const reused = await refusal(loop.thumb({ ...rated, thumb: "down" }, once));
found.reused = [reused.status, reused.code];
process.stdout.write(JSON.stringify(found));
