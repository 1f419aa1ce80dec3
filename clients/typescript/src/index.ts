// A small client of serving: chat, and feedback on it. The types are those of the OpenAPI documents; `npm run generate` makes them.
import createClient from "openapi-fetch";
import type { components, paths } from "./serving.js";

export type { paths as HubPaths } from "./hub.js"; // createClient<HubPaths> of openapi-fetch calls the hub

type Json<P extends keyof paths> = paths[P] extends { post: { requestBody: { content: { "application/json": infer Body } } } } ? Body : never;
type Feedback = Json<"/v1/feedback">;
type Kind<Type extends Feedback["type"]> = WithoutType<Extract<Feedback, { type: Type }>>;
type WithoutType<Body> = Body extends unknown ? Omit<Body, "type"> : never;

export type ChatRequest = Omit<Json<"/v1/chat/completions">, "model" | "stream"> & { model?: string };
export type ChatCompletion = components["schemas"]["ChatCompletion"];
export type FeedbackReceipt = components["schemas"]["FeedbackReceipt"];
export type PairReceipt = components["schemas"]["PairReceipt"];
export type OutcomeReceipt = components["schemas"]["OutcomeReceipt"];

export interface Options {
  /** Where serving listens, such as `http://127.0.0.1:8000`. */
  baseUrl: string;
  /** The key that `feedbackloop keys create` printed, where the service asks for one. */
  apiKey?: string;
  /** Simulations mark their requests. */
  source?: "product" | "simulation";
  headers?: Record<string, string>;
  fetch?: (request: Request) => Promise<Response>;
}

/** A request repeated with the same key and body is recorded once. */
export interface Once {
  idempotencyKey?: string;
}

/** A refusal or a failure: `param` names the part of the request, `retryAfter` the seconds to wait before a retry. */
export class FeedbackLoopError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code: string | null,
    readonly param: string | null,
    readonly retryAfter: number | null,
  ) {
    super(message);
    this.name = "FeedbackLoopError";
  }
}

export class FeedbackLoop {
  private readonly http;
  private readonly source;

  constructor(options: Options) {
    const key = options.apiKey === undefined ? {} : { Authorization: `Bearer ${options.apiKey}` };
    this.http = createClient<paths>({ baseUrl: options.baseUrl, headers: { ...key, ...options.headers }, fetch: options.fetch });
    this.source = options.source ?? "product";
  }

  /** A whole reply; `feedbackloop` holds the ids by which it can be judged. For streams use OpenAI's client. */
  async chat(request: ChatRequest): Promise<ChatCompletion> {
    const body = { ...request, model: request.model ?? "champion" };
    return answered(await this.http.POST("/v1/chat/completions", { body, params: this.params({}) })) as ChatCompletion;
  }

  /** Which of the two responses of a pair is better. */
  compare(body: Kind<"comparison">, once: Once = {}): Promise<FeedbackReceipt> {
    return this.feedback({ type: "comparison", ...body } as Feedback, once);
  }

  thumb(body: Kind<"thumb">, once: Once = {}): Promise<FeedbackReceipt> {
    return this.feedback({ type: "thumb", ...body } as Feedback, once);
  }

  score(body: Kind<"score">, once: Once = {}): Promise<FeedbackReceipt> {
    return this.feedback({ type: "score", ...body } as Feedback, once);
  }

  comment(body: Kind<"comment">, once: Once = {}): Promise<FeedbackReceipt> {
    return this.feedback({ type: "comment", ...body } as Feedback, once);
  }

  /** A rewrite of a reply, preferred to the original. */
  edit(body: Kind<"edit">, once: Once = {}): Promise<FeedbackReceipt> {
    return this.feedback({ type: "edit", ...body } as Feedback, once);
  }

  /** Take back what a recruiter has said of a pair or a reply. */
  withdraw(body: Kind<"withdrawal">, once: Once = {}): Promise<FeedbackReceipt> {
    return this.feedback({ type: "withdrawal", ...body } as Feedback, once);
  }

  /** Two responses of the product's own, for recruiters to compare. */
  async pair(body: Json<"/v1/pairs">, once: Once = {}): Promise<PairReceipt> {
    return answered(await this.http.POST("/v1/pairs", { body, params: this.params(once) }));
  }

  /** A candidate's groups, a decision about the candidate, or both. */
  async outcome(body: Json<"/v1/outcomes">, once: Once = {}): Promise<OutcomeReceipt> {
    return answered(await this.http.POST("/v1/outcomes", { body, params: this.params(once) }));
  }

  private async feedback(body: Feedback, once: Once): Promise<FeedbackReceipt> {
    return answered(await this.http.POST("/v1/feedback", { body, params: this.params(once) }));
  }

  private params(once: Once) {
    const key = once.idempotencyKey === undefined ? {} : { "Idempotency-Key": once.idempotencyKey };
    return { header: { "X-FeedbackLoop-Source": this.source, ...key } };
  }
}

function answered<Data>(result: { data?: Data; error?: unknown; response: Response }): Data {
  if (result.data !== undefined) return result.data;
  const { status, headers } = result.response;
  const error = (result.error as { error?: Partial<components["schemas"]["ErrorDetail"]> } | undefined)?.error;
  const wait = Number.parseInt(headers.get("Retry-After") ?? "", 10);
  throw new FeedbackLoopError(
    error?.message ?? `the server answered ${status}`,
    status,
    error?.code ?? null,
    error?.param ?? null,
    Number.isNaN(wait) ? null : wait,
  );
}
