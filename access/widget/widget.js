// <feedbackloop-rate> and <feedbackloop-thumbs>: recruiters' judgments inside any page. Their attributes are described in docs/widget.md.
//
// There is no dependency and no build step. The elements make no inline style and no HTML from strings, so a page with a strict
// Content-Security-Policy needs script-src and connect-src for this server only.
(function () {
  "use strict";
  if (customElements.get("feedbackloop-rate")) return; // the page has loaded the script twice

  const HOME = document.currentScript ? new URL(".", document.currentScript.src).href : ""; // of the server that this script came from
  const TIMEOUT = 30000; // milliseconds; a request without an answer is retried
  const RETRY = 2000;
  const ENDED = "recruiter_removed"; // code of a refusal, as in access/widget/tokens.py
  const KEEPALIVE = 10000; // characters of a body that is sent even when the page closes meanwhile: browsers refuse that above 64 kB
  const TOKEN_MARGIN = 30; // seconds before its end at which a token is renewed

  const ICONS = {
    pair: "M3 7a2 2 0 0 1 2-2h3.500a2 2 0 0 1 2 2v10a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2zM13.500 7a2 2 0 0 1 2-2H19a2 2 0 0 1 2 2v10a2 2 0 0 1-2 2h-3.500a2 2 0 0 1-2-2zM5.300 12l1.300 1.300 2-2.600",
    up: "M7 11v9H4v-9zm0 0 4-7c1.700 0 2.600 1.200 2.300 2.800L12.800 10H18a2 2 0 0 1 2 2.400l-1.200 6A2 2 0 0 1 16.800 20H7",
    down: "M7 13V4H4v9zm0 0 4 7c1.700 0 2.600-1.200 2.300-2.800L12.800 14H18a2 2 0 0 0 2-2.400l-1.200-6A2 2 0 0 0 16.800 4H7",
  };

  // An HTML element: attributes as written in HTML (true for one without a value, undefined for none), `on…` for listeners.
  function html(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value !== undefined) made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children);
    return made;
  }

  function icon(name) {
    const [svg, path] = ["svg", "path"].map((tag) => document.createElementNS("http://www.w3.org/2000/svg", tag));
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    path.setAttribute("d", ICONS[name]);
    svg.append(path);
    return svg;
  }

  // ---- the server

  // A request that another try cannot mend.
  class Refused extends Error {}

  // The recruiter has no access, or not any more.
  class Ended extends Refused {}

  // One server, as the element asks it for one recruiter: the one that `token-src` gives a token for, or else the attribute's.
  class Server {
    #token = null;
    #renewAt = 0; // by the browser's monotonic clock: its wall clock may be wrong

    constructor(element) {
      const base = element.getAttribute("server") || HOME;
      this.base = base.endsWith("/") ? base : base + "/";
      this.tokens = element.getAttribute("token-src");
      this.recruiter = this.tokens ? null : (element.getAttribute("recruiter") || "").trim();
    }

    // The JSON of the answer to a GET with these fields, or to a POST if there is a body; null for an empty answer.
    async call(path, fields, method = "POST") {
      let answer = await this.#ask(path, fields, method);
      if (answer.status === 401 && this.#token) {
        this.#token = null; // its key may have been replaced meanwhile
        answer = await this.#ask(path, fields, method);
      }
      if (answer.status === 204) return null;
      const found = await answer.json().catch(() => ({}));
      if (answer.ok) return found;
      const said = found.error ? found.error.message : "the server answered " + answer.status;
      if (found.error && found.error.code === ENDED) throw new Ended(said);
      throw answer.status >= 500 || [401, 408, 429].includes(answer.status) ? new Error(said) : new Refused(said);
    }

    async #ask(path, fields, method) {
      const options = { method: method, headers: {}, signal: AbortSignal.timeout(TIMEOUT) };
      if (this.tokens) options.headers.Authorization = "Bearer " + (await this.#currentToken());
      const sent = this.recruiter ? { recruiter: this.recruiter, ...fields } : fields;
      if (method === "GET") return fetch(this.base + path + "?" + new URLSearchParams(sent), options);
      options.headers["Content-Type"] = "application/json";
      options.body = JSON.stringify(sent);
      options.keepalive = options.body.length < KEEPALIVE;
      return fetch(this.base + path, options);
    }

    async #currentToken() {
      if (!this.#token || performance.now() >= this.#renewAt) {
        const answer = await fetch(this.tokens, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) });
        if (answer.status === 403) throw new Ended("there is no token for this recruiter");
        if (!answer.ok) throw new Error("there is no token: " + this.tokens + " answered " + answer.status);
        const found = await answer.json();
        if (this.recruiter && this.recruiter !== found.recruiter) throw new Refused("somebody else has signed in meanwhile; load the page again");
        this.recruiter = found.recruiter;
        this.#token = found.token;
        this.#renewAt = performance.now() + 1000 * Math.max(0, found.expires_in - TOKEN_MARGIN);
      }
      return this.#token;
    }
  }

  const NO_ACCESS = ["You cannot rate here", "You have no access, or not any more. Ask whoever manages it."];

  // ---- pairs and judgments of one recruiter

  const FETCH = 12; // pairs
  const FETCH_BELOW = 5; // fetch more when fewer pairs are held
  const LEASE = 30000; // milliseconds, as in dashboard/actions/rating_queue.py
  const RENEW = 10000;
  const POLL = 3000; // between two looks for pairs while there are none
  const LOOK = 1000; // the same while some are open, which others hold
  const IDLE = 300000; // milliseconds without key, pointer or scroll events after which leases are no longer renewed
  const ACTIVITY = ["keydown", "pointerdown", "pointermove", "wheel", "scroll", "visibilitychange"];

  // Pairs fetched ahead, so that a judgment shows the next pair at once, and judgments on their way: sent in order, with retries until the
  // server has accepted each. Leases are renewed while the recruiter is active.
  class Queue {
    pairs = [];
    judged = []; // for undo
    outbox = [];
    waiting = null; // open pairs that this recruiter may still judge; null before the first answer
    passed = 0; // open pairs that only wait for others
    objectives = [];
    notice = "";
    ended = false; // the recruiter has no access: nothing is asked or sent any more
    #seen = new Set();
    #fetching = false;
    #sending = false;
    #closed = false;
    #askedAt = 0;
    #leasedAt = 0;
    #activeAt = Date.now();
    #stop = new AbortController();

    // `changed` is called after each change of the fields above.
    constructor(server, changed) {
      this.server = server;
      this.changed = changed;
      const options = { capture: true, passive: true, signal: this.#stop.signal };
      for (const what of ACTIVITY) document.addEventListener(what, () => { this.#activeAt = Date.now(); }, options);
      addEventListener("pagehide", () => this.#release(this.#leased()), options);
      this.timer = setInterval(() => this.#tick(), 1000);
      this.#fetchMore();
    }

    // Judgments that are not sent yet go on being sent.
    close() {
      this.#closed = true;
      this.#stop.abort();
      clearInterval(this.timer);
      this.#release(this.#leased());
    }

    // Drops what the server does not take any more.
    #end() {
      if (this.outbox.length) this.notice = "Judgments that came too late to count: " + this.outbox.length;
      this.ended = true;
      this.pairs = [];
      this.judged = [];
      this.outbox = [];
      this.close();
      this.changed();
    }

    // `details` has strength, reason, objectives and seconds, as the API takes them.
    judge(choice, details) {
      const pair = this.pairs.shift();
      this.#post(pair, { choice: choice, ...details });
      this.judged.push(pair);
      if (!pair.again) {
        this.waiting = Math.max(0, this.waiting - 1);
        if (choice === "skip") this.passed += 1;
      }
      if (this.pairs.length < FETCH_BELOW) this.#fetchMore();
    }

    // Shows the last pair again. Its judgment is replaced by a skip, which teaches nothing.
    undo() {
      const pair = this.judged.pop();
      this.#post(pair, { choice: "skip" });
      pair.again = true;
      this.pairs.unshift(pair);
    }

    #tick() {
      if (document.visibilityState !== "visible") return;
      const now = Date.now();
      if (!this.pairs.length) {
        if (now - this.#askedAt >= (this.waiting ? LOOK : POLL)) this.#fetchMore();
      } else if (now - this.#activeAt < IDLE && now - this.#leasedAt >= RENEW) this.#renew();
    }

    async #fetchMore() {
      if (this.#fetching || this.#closed) return;
      this.#fetching = true;
      this.#askedAt = Date.now();
      try {
        const found = await this.server.call("v1/queue", { limit: FETCH }, "GET");
        if (this.#closed) {
          this.#release(found.pairs.map((pair) => pair.pair_id));
          return;
        }
        const fresh = found.pairs.filter((pair) => !this.#seen.has(pair.pair_id));
        for (const pair of fresh) this.#seen.add(pair.pair_id);
        if (!this.pairs.length) {
          this.#leasedAt = Date.now();
          this.notice = "";
        }
        this.pairs.push(...fresh);
        this.objectives = found.objectives;
        this.#count(found);
      } catch (problem) {
        if (problem instanceof Ended) this.#end();
        else if (!this.#closed) this.notice = "No pairs could be fetched: " + problem.message;
      } finally {
        this.#fetching = false;
      }
      this.changed();
    }

    // Drops pairs that others hold or have judged by now; the one on screen only if its lease had expired and others have judged it.
    async #renew() {
      const away = Date.now() - this.#leasedAt > LEASE;
      const ids = this.#leased();
      this.#leasedAt = Date.now();
      if (!ids.length) return;
      let found;
      try {
        found = await this.server.call("v1/queue/renew", { pair_ids: ids });
      } catch (problem) {
        if (problem instanceof Ended) this.#end();
        return; // unreachable: a pair with an expired lease stays until somebody else has judged it
      }
      const lost = new Set(ids.filter((id) => !found.held.includes(id)));
      const onScreen = this.pairs.length ? this.pairs[0].pair_id : "";
      if (!(away && found.judged.includes(onScreen))) lost.delete(onScreen);
      const dropped = this.pairs.filter((pair) => !pair.again && lost.has(pair.pair_id));
      for (const pair of dropped) this.#seen.delete(pair.pair_id); // the queue may give them again
      this.pairs = this.pairs.filter((pair) => !dropped.includes(pair));
      this.#count(found);
      this.changed();
    }

    #count(found) {
      this.waiting = Math.max(0, found.waiting - this.outbox.length);
      this.passed = found.passed;
    }

    // Undone pairs have been judged and have no lease.
    #leased() {
      return this.pairs.filter((pair) => !pair.again).map((pair) => pair.pair_id);
    }

    #release(ids) {
      if (ids.length) this.server.call("v1/queue/release", { pair_ids: ids }).catch(() => undefined); // they expire by themselves
    }

    #post(pair, said) {
      if (!this.outbox.length) addEventListener("beforeunload", Queue.#warn);
      this.outbox.push({ pair_id: pair.pair_id, shown_first: pair.shown_first, ...said });
      this.#send();
    }

    static #warn(event) {
      event.preventDefault(); // judgments would be lost: the browser asks
    }

    async #send() {
      if (this.#sending) return;
      this.#sending = true;
      while (this.outbox.length) {
        try {
          await this.server.call("v1/judgments", this.outbox[0]);
          this.notice = "";
          this.outbox.shift();
        } catch (problem) {
          if (problem instanceof Ended) this.#end();
          if (this.ended) break;
          if (problem instanceof Refused) {
            this.notice = "A judgment was refused: " + problem.message;
            this.#seen.delete(this.outbox.shift().pair_id); // it is still open: the queue may return it
          } else {
            this.notice = this.outbox.length + " judgments are not sent yet (" + problem.message + "); trying again.";
            this.changed();
            await new Promise((wait) => setTimeout(wait, RETRY));
          }
        }
        this.changed();
      }
      this.#sending = false;
      removeEventListener("beforeunload", Queue.#warn);
    }
  }

  // ---- <feedbackloop-rate>

  const ACTIONS = [
    ["first", "A is better", "1", "A"], ["second", "B is better", "2", "B"], ["tie", "Tie", "3", "T"], ["neither", "Neither", "4", "N"],
    ["skip", "Skip", "5", "S"], ["undo", "Undo", "U"],
  ];
  const KEYS = Object.fromEntries(ACTIONS.flatMap(([action, , ...keys]) => keys.map((key) => [key.toLowerCase(), action])));
  const STRENGTHS = [["1", "negligible"], ["2", "slight"], ["3", "clear"], ["4", "significant"]];
  const ANSWERS = [["first", "A"], ["second", "B"], ["tie", "Tie"], ["neither", "Neither"]];
  const NAMES = { user: "Candidate", assistant: "Chatbot" };

  // One of a few values, or none: pressing the chosen one again takes it back.
  class Choices {
    value = "";

    constructor(label, options) {
      this.buttons = options.map(([value, text]) => {
        const press = () => this.choose(this.value === value ? "" : value);
        return html("button", { type: "button", class: "chip", value: value, "aria-pressed": "false", onclick: press }, text);
      });
      const name = html("span", { class: "label", "aria-hidden": "true" }, label);
      this.element = html("div", { class: "choices", role: "group", "aria-label": label }, name, html("span", { class: "chips" }, ...this.buttons));
    }

    choose(value) {
      this.value = value;
      for (const button of this.buttons) button.setAttribute("aria-pressed", String(button.value === value));
    }
  }

  class FeedbackLoopRate extends HTMLElement {
    static observedAttributes = ["recruiter", "server", "signed-in", "token-src"];
    #queue = null;
    #shown = null;
    #shownAt = 0;
    #strength = new Choices("How much better", STRENGTHS);
    #objectives = {}; // by name

    constructor() {
      super();
      const root = this.attachShadow({ mode: "open" });
      root.adoptedStyleSheets = [STYLE];
      root.append(this.#layout());
      this.$ = Object.fromEntries([...root.querySelectorAll("[id]")].map((each) => [each.id, each]));
    }

    connectedCallback() {
      this.#start();
    }

    disconnectedCallback() {
      this.#end();
    }

    attributeChangedCallback(_name, before, after) {
      if (!this.isConnected || before === after) return;
      this.#end();
      this.#start();
    }

    // The keys work while the focus is inside.
    focus(options) {
      this.$.rater.focus(options);
    }

    #layout() {
      const side = (name, id) =>
        html("article", { class: "card", "aria-label": "Reply " + name },
          html("span", { class: "side", "aria-hidden": "true" }, name), html("p", { class: "text", id: id, dir: "auto" }));
      const action = ([name, text, ...keys]) =>
        html("button", { id: name + "-button", class: "action " + name, type: "button", "aria-keyshortcuts": keys.join(" ").toLowerCase(), onclick: () => this.#act(name) },
          text, html("span", { class: "keys", "aria-hidden": "true" }, ...keys.map((key) => html("kbd", {}, key))));
      const reason = html("textarea", { id: "reason", rows: "1", "aria-label": "Reason, optional", placeholder: matchMedia("(hover: none)").matches ? "Why?" : "Why? Esc returns to the keys" });
      return html("div", { id: "rater", role: "group", tabindex: "-1", "aria-label": "Compare two replies", onkeydown: (event) => this.#onKey(event) },
        html("div", { class: "bar" },
          html("span", { class: "hint", "aria-hidden": "true" }, "Click here to use the keys"), html("span", { id: "progress", role: "status" })),
        html("p", { id: "notice", role: "alert", hidden: true }),
        html("div", { id: "empty" }, icon("pair"), html("strong", { id: "empty-title" }), html("p", { id: "empty-text" })),
        html("div", { id: "pair", hidden: true },
          html("div", { id: "conversation", role: "group", tabindex: "0", "aria-label": "The conversation so far" }),
          html("div", { class: "sides" }, side("A", "first"), side("B", "second")),
          html("div", { class: "details" }, this.#strength.element, reason),
          html("details", { id: "by-objective", hidden: true }, html("summary", {}, "Answer for each objective"), html("div", { id: "objectives" })),
          html("div", { class: "actions", role: "group", "aria-label": "Your judgment" }, ...ACTIONS.map(action))));
    }

    #start() {
      const server = new Server(this);
      this.#queue = server.recruiter || server.tokens || this.hasAttribute("signed-in") ? new Queue(server, () => this.#draw()) : null;
      this.#draw();
    }

    #end() {
      if (this.#queue) this.#queue.close();
      this.#queue = null;
    }

    #act(action) {
      const queue = this.#queue;
      if (!queue || !(action === "undo" ? queue.judged : queue.pairs).length) return;
      if (action === "undo") queue.undo();
      else queue.judge(this.#side(action), this.#details(action));
      this.#draw();
    }

    // As the API calls the sides of the pair on screen.
    #side(answer) {
      const first = this.#shown.shown_first;
      return { first: first, second: first === "A" ? "B" : "A" }[answer] || answer;
    }

    #details(action) {
      const details = { seconds: Math.round(performance.now() - this.#shownAt) / 1000 };
      const reason = this.$.reason.value.trim();
      if (reason) details.reason = reason;
      if (action === "skip") return details;
      if (this.#strength.value && (action === "first" || action === "second")) details.strength = Number(this.#strength.value);
      const answered = Object.entries(this.#objectives).filter(([, choices]) => choices.value);
      if (answered.length) details.objectives = Object.fromEntries(answered.map(([name, choices]) => [name, this.#side(choices.value)]));
      return details;
    }

    #onKey(event) {
      if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
      if (event.target === this.$.reason) {
        if (event.key === "Escape") this.focus();
        return;
      }
      const action = KEYS[event.key.toLowerCase()];
      if (!action) return;
      event.preventDefault();
      this.#act(action);
    }

    #draw() {
      const queue = this.#queue;
      const pair = (queue && queue.pairs[0]) || null;
      if (pair !== this.#shown) this.#show(pair);
      const focused = this.shadowRoot.activeElement;
      this.$.pair.hidden = !pair;
      this.$.empty.hidden = Boolean(pair);
      this.$["undo-button"].disabled = !queue || !queue.judged.length;
      if (focused && (!pair || focused.disabled)) this.focus(); // what had the focus is gone
      this.$.notice.hidden = !queue || !queue.notice;
      this.#say("notice", queue ? queue.notice : "");
      this.#say("progress", progress(queue));
      const [title, text] = emptyState(queue);
      this.#say("empty-title", title);
      this.#say("empty-text", text);
    }

    #show(pair) {
      this.#shown = pair;
      this.#shownAt = performance.now();
      this.$.reason.value = "";
      this.#strength.choose("");
      this.#objectives = {};
      if (!pair) return;
      const first = pair.shown_first === "A";
      this.$.conversation.replaceChildren(...pair.prompt.map(bubble));
      this.$.first.textContent = first ? pair.a : pair.b;
      this.$.second.textContent = first ? pair.b : pair.a;
      for (const name of this.#queue.objectives) this.#objectives[name] = new Choices(name, ANSWERS);
      this.$.objectives.replaceChildren(...Object.values(this.#objectives).map((each) => each.element));
      this.$["by-objective"].hidden = !this.#queue.objectives.length;
    }

    // Only what has changed: a screen reader reads a live region out after each change.
    #say(id, text) {
      if (this.$[id].textContent !== text) this.$[id].textContent = text;
    }
  }

  function bubble(message) {
    const text = html("p", { class: "text", dir: "auto" }, message.content);
    if (message.role === "system") return html("details", { class: "instructions" }, html("summary", {}, "Instructions to the chatbot"), text);
    return html("div", { class: "bubble " + message.role }, html("span", { class: "name" }, NAMES[message.role]), text);
  }

  function progress(queue) {
    if (!queue || queue.ended) return "";
    const parts = [];
    if (queue.judged.length) parts.push(queue.judged.length + " judged");
    if (queue.waiting !== null) parts.push(queue.waiting + " waiting");
    if (queue.outbox.length > 2) parts.push(queue.outbox.length + " not sent yet");
    return parts.join(" · ");
  }

  function emptyState(queue) {
    if (!queue) return ["Nobody is rating", "This element needs the attribute recruiter or token-src."];
    if (queue.ended) return NO_ACCESS;
    if (queue.waiting !== 0) return ["Looking for pairs …", ""];
    const others = queue.passed ? "You have seen every pair that is open; " + queue.passed + " wait for other recruiters. " : "";
    return ["Nothing left to rate", others + "The next pair appears here by itself as soon as a candidate has chatted."];
  }

  // ---- <feedbackloop-thumbs>

  class FeedbackLoopThumbs extends HTMLElement {
    static observedAttributes = ["reply-id", "conversation-id", "recruiter", "server", "token-src"];
    #thumb = "";
    #busy = false;
    #server = new Server(this);

    constructor() {
      super();
      const root = this.attachShadow({ mode: "open" });
      root.adoptedStyleSheets = [STYLE];
      const thumb = (value, label) =>
        html("button", { type: "button", class: "thumb", value: value, title: label, "aria-label": label, "aria-pressed": "false", onclick: () => this.#press(value) }, icon(value));
      this.thumbs = [thumb("up", "Good reply"), thumb("down", "Bad reply")];
      this.reason = html("input", { type: "text", "aria-label": "Reason, optional", placeholder: "Why?", autocomplete: "off" });
      this.form = html("form", { hidden: true, onsubmit: (event) => this.#explain(event) }, this.reason, html("button", { class: "chip" }, "Send"));
      this.said = html("span", { class: "said", role: "status" });
      root.append(html("div", { class: "thumbs", role: "group", "aria-label": "Rate this reply" }, ...this.thumbs, this.form, this.said));
    }

    attributeChangedCallback() {
      this.#server = new Server(this);
      this.#show("");
      this.form.hidden = true;
      this.said.textContent = "";
    }

    #show(thumb) {
      this.#thumb = thumb;
      for (const button of this.thumbs) button.setAttribute("aria-pressed", String(button.value === thumb));
    }

    // Pressing the same thumb again takes it back.
    #press(value) {
      const thumb = this.#thumb === value ? "" : value;
      this.#send(thumb, thumb ? { type: "thumb", thumb: thumb } : { type: "withdrawal" }, thumb ? "Thank you." : "Taken back.");
    }

    #explain(event) {
      event.preventDefault();
      const reason = this.reason.value.trim();
      if (reason) this.#send(this.#thumb, { type: "thumb", thumb: this.#thumb, reason: reason }, "Thank you: the reason is noted.");
    }

    async #send(thumb, body, thanks) {
      if (this.#busy) return;
      this.#busy = true;
      for (const [attribute, field] of [["reply-id", "reply_id"], ["conversation-id", "conversation_id"]])
        if (this.hasAttribute(attribute)) body[field] = this.getAttribute(attribute);
      try {
        await this.#server.call("v1/feedback", body);
        this.#show(thumb);
        const explained = Boolean(body.reason) || !thumb;
        if (explained && this.form.contains(this.shadowRoot.activeElement)) this.thumbs[thumb === "down" ? 1 : 0].focus();
        this.form.hidden = explained;
        this.reason.value = "";
        this.said.textContent = thanks;
      } catch (problem) {
        this.said.textContent = problem instanceof Ended ? NO_ACCESS.join(". ") : "Not sent: " + problem.message + ". Press again.";
      }
      this.#busy = false;
    }
  }

  // ---- looks: each colour can be set by a custom property of the page, and is light or dark as the page's `color-scheme` says

  const STYLE = new CSSStyleSheet();
  STYLE.replaceSync(`
    :host {
      --_ink: var(--feedbackloop-ink, light-dark(#191c22, #eceef3));
      --_soft: var(--feedbackloop-soft, light-dark(#5b6270, #a6adba));
      --_card: var(--feedbackloop-card, light-dark(#fff, #1a1d25));
      --_line: var(--feedbackloop-line, light-dark(#e0e0da, #2f3440));
      --_field: var(--feedbackloop-field, light-dark(#82878f, #737b8c));
      --_accent: var(--feedbackloop-accent, light-dark(#3b5bdb, #8ba4ff));
      --_bad: var(--feedbackloop-bad, light-dark(#a8390a, #ff9d66));
      --_tint: color-mix(in srgb, var(--_accent) 11%, var(--_card));
      --_radius: var(--feedbackloop-radius, 14px);
      display: block;
      color: var(--_ink);
      font: 15px/1.55 var(--feedbackloop-font, ui-sans-serif, system-ui, sans-serif);
    }
    :host([hidden]), [hidden] { display: none !important; }
    :host(feedbackloop-thumbs) { display: inline-block; }
    * { box-sizing: border-box; }
    p { margin: 0; }
    button, textarea, input { font: inherit; color: inherit; }
    button { cursor: pointer; touch-action: manipulation; }
    summary { cursor: pointer; width: fit-content; padding: 3px 0; }
    :focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; border-radius: 6px; }
    svg { width: 20px; height: 20px; fill: none; stroke: currentcolor; stroke-width: 1.8; stroke-linecap: round; stroke-linejoin: round; }
    .text { white-space: pre-wrap; overflow-wrap: anywhere; }
    .label { font-size: 13.5px; font-weight: 560; color: var(--_soft); }

    #rater { container: rater / inline-size; }
    #rater:focus { outline: none; }
    .bar { display: flex; justify-content: space-between; gap: 16px; min-height: 1.6em; margin-bottom: 8px; font-size: 13.5px; color: var(--_soft); }
    #rater:focus-within .hint { visibility: hidden; }
    #progress { margin-left: auto; font-variant-numeric: tabular-nums; }
    #notice { padding: 10px 14px; margin-bottom: 14px; border-radius: 10px; font-size: 14px; color: var(--_bad); background: color-mix(in srgb, var(--_bad) 10%, var(--_card)); }
    #empty { display: flex; flex-direction: column; align-items: center; gap: 6px; padding: 56px 24px; text-align: center; color: var(--_soft); border: 1px dashed var(--_field); border-radius: var(--_radius); }
    #empty svg { width: 30px; height: 30px; margin-bottom: 6px; }
    #empty strong { color: var(--_ink); font-size: 16px; }
    #empty p { max-width: 46ch; }

    #conversation { display: flex; flex-direction: column; gap: 10px; max-height: 42vh; margin-bottom: 20px; overflow-y: auto; outline-offset: -2px; }
    .bubble { max-width: min(78%, 68ch); padding: 9px 15px 11px; align-self: flex-start; background: var(--_card); border: 1px solid var(--_line); border-radius: 16px 16px 16px 5px; }
    .bubble.assistant { align-self: flex-end; background: var(--_tint); border-color: transparent; border-radius: 16px 16px 5px; }
    .name { font-size: 12px; font-weight: 560; color: var(--_soft); }
    .instructions { padding: 2px 0 2px 14px; font-size: 13.5px; color: var(--_soft); border-left: 2px solid var(--_field); }
    .sides { display: grid; grid-template-columns: 1fr 1fr; gap: 16px; }
    .card { min-height: 136px; padding: 16px 22px 20px; background: var(--_card); border: 1px solid var(--_line); border-radius: var(--_radius); box-shadow: 0 1px 2px rgb(20 22 30 / 5%), 0 8px 24px -12px rgb(20 22 30 / 12%); }
    .card .text { font-size: 16px; line-height: 1.6; }
    .side { display: inline-grid; place-items: center; width: 26px; height: 26px; margin-bottom: 10px; font-size: 13px; font-weight: 650; color: var(--_card); background: var(--_ink); border-radius: 8px; }

    .details { display: grid; grid-template-columns: auto minmax(200px, 1fr); gap: 12px 24px; align-items: center; margin-top: 18px; }
    .choices { display: flex; align-items: center; flex-wrap: wrap; gap: 6px 12px; }
    .chips { display: flex; flex-wrap: wrap; gap: 6px; }
    .chip { min-height: 32px; padding: 3px 13px; font-size: 14px; background: var(--_card); border: 1px solid var(--_field); border-radius: 99px; }
    .chip:hover { border-color: var(--_accent); }
    .chip[aria-pressed="true"] { color: var(--_accent); background: var(--_tint); border-color: var(--_accent); box-shadow: inset 0 0 0 1px var(--_accent); }
    .chip[aria-pressed="true"]::before { content: "✓ " / ""; }
    textarea, input { width: 100%; padding: 7px 12px; background: var(--_card); border: 1px solid var(--_field); border-radius: 10px; }
    textarea { display: block; min-height: 40px; max-height: 130px; resize: vertical; field-sizing: content; }
    ::placeholder { color: var(--_soft); opacity: 1; }
    #by-objective { margin-top: 10px; font-size: 14px; }
    #by-objective summary { color: var(--_soft); }
    #objectives { display: grid; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); gap: 10px 28px; padding-top: 8px; }
    #objectives .label { min-width: 5.5em; }
    #objectives .label::first-letter { text-transform: uppercase; }

    .chip, textarea, summary { scroll-margin-bottom: 150px; } /* what has the focus is not hidden behind the actions */
    .actions { position: sticky; bottom: var(--feedbackloop-bottom, 8px); display: grid; grid-template-columns: 1.35fr 1.35fr 1fr 1fr 1fr 1fr; gap: 8px; margin-top: 18px; padding: 8px; background: var(--_card); border: 1px solid var(--_line); border-radius: var(--_radius); box-shadow: 0 4px 18px rgb(20 22 30 / 12%); }
    .action { display: flex; flex-direction: column; align-items: center; justify-content: center; gap: 5px; min-height: 48px; padding: 10px 6px; font-weight: 580; background: var(--_card); border: 1px solid var(--_field); border-radius: 11px; transition: background 0.12s, border-color 0.12s; }
    .action:hover:not(:disabled) { background: var(--_tint); border-color: var(--_accent); }
    .action:active:not(:disabled) { transform: translateY(1px); }
    .action:disabled { opacity: 0.45; cursor: default; }
    .skip, .undo { font-weight: 480; color: var(--_soft); }
    .keys { display: flex; gap: 4px; visibility: hidden; }
    #rater:focus-within .keys { visibility: visible; }
    kbd { padding: 2px 6px; font: 11.5px/1 ui-monospace, monospace; color: var(--_soft); border: 1px solid var(--_line); border-bottom-width: 2px; border-radius: 5px; }
    @media (hover: none) { .keys, .hint { display: none; } }
    @container rater (max-width: 680px) {
      #conversation { max-height: none; }
      .bubble { max-width: 92%; }
      .sides, .details, #objectives { grid-template-columns: 1fr; }
      .card { min-height: 0; padding: 14px 18px 18px; }
      .actions { grid-template-columns: repeat(4, 1fr); }
      .action { flex-direction: row; gap: 8px; min-height: 44px; padding: 6px; }
      kbd + kbd { display: none; }
      #rater:not(:focus-within) .keys { display: none; }
      .first, .second { grid-column: span 2; }
    }

    .thumbs { display: flex; align-items: center; flex-wrap: wrap; gap: 6px 8px; min-height: 34px; font-size: 14px; }
    .thumb { display: grid; place-items: center; width: 34px; height: 34px; padding: 0; color: var(--_soft); background: none; border: 1px solid transparent; border-radius: 9px; }
    .thumb svg { width: 19px; height: 19px; }
    .thumb:hover { color: var(--_ink); border-color: var(--_field); }
    .thumb[aria-pressed="true"] { color: var(--_accent); border-color: var(--_accent); background: var(--_tint); }
    .thumb[aria-pressed="true"] svg { fill: color-mix(in srgb, currentcolor 35%, transparent); }
    .thumbs form { display: flex; gap: 6px; }
    .thumbs input { width: 15em; padding: 3px 12px; border-radius: 99px; }
    .said { color: var(--_soft); }
    @media (pointer: coarse) { .thumb { width: 44px; height: 44px; } .chip { min-height: 40px; } }
    @media (prefers-reduced-motion: reduce) { * { transition: none !important; } }
  `);

  customElements.define("feedbackloop-rate", FeedbackLoopRate);
  customElements.define("feedbackloop-thumbs", FeedbackLoopThumbs);
})();
