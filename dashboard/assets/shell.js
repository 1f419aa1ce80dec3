// The frame of every page: shows the state of the push connection, and polls the status while it is down.
(function () {
  "use strict";
  const clientside = (window.dash_clientside = window.dash_clientside || {});
  const noUpdate = () => window.dash_clientside.no_update;
  const SILENCE = 13000; // milliseconds; the hub sends a heartbeat every eight seconds (dashboard/status/feed.py)
  let heard = 0;

  // The address of a path of the hub, which a reverse proxy may publish under a prefix. For the other scripts too.
  window.hubPath = function (path) {
    const config = JSON.parse(document.getElementById("_dash-config").textContent);
    return config.requests_pathname_prefix.replace(/\/$/, "") + path;
  };

  // The JSON of an answer. Once the session has ended, the page is asked for again: the hub answers with the sign-in page.
  function read(answer) {
    if (answer.status === 401) location.reload();
    if (!answer.ok) throw new Error("the hub answered " + answer.status);
    return answer.json();
  }

  clientside.counts = Object.assign(clientside.counts || {}, {
    rate: (status) => status.waiting.to_rate,
    runs: (_status, runs) => runs.filter((run) => ["requested", "frozen", "training"].includes(run.state)).length,
    promotions: (status) => status.awaiting_review.length,
  });

  clientside.shell = {
    beat: function (beat, _ticks) {
      const asked = window.dash_clientside.callback_context.triggered.map((t) => t.prop_id);
      if (beat && asked.includes("live-beat.data")) heard = Date.now();
      if (!beat) return ["live-line", "Connecting"];
      if (beat.pushed) clientside.shell.slow = false;
      if (Date.now() - heard > SILENCE) return ["live-line off", "Not connected"];
      return beat.pushed ? ["live-line on", "Live"] : ["live-line slow", "Every 5 s"];
    },

    signOut: async function (_clicks, everywhere) {
      await fetch(window.hubPath(everywhere === true ? "/sign-out?everywhere=true" : "/sign-out"), { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });
      location.assign(window.hubPath("/sign-in"));
      return true;
    },

    signOutEverywhere: (clicks) => clientside.shell.signOut(clicks, true),

    fallback: async function () {
      if (heard && Date.now() - heard < SILENCE && !clientside.shell.slow) return noUpdate();
      try {
        const [status, runs, versions, curve, duel] = await Promise.all(["status", "runs", "versions", "curve", "duel"].map((what) => fetch(window.hubPath("/v1/" + what)).then(read)));
        window.dash_clientside.set_props("live-status", { data: status });
        window.dash_clientside.set_props("live-runs", { data: runs.runs });
        window.dash_clientside.set_props("live-versions", { data: versions });
        window.dash_clientside.set_props("live-curve", { data: curve.points });
        window.dash_clientside.set_props("live-duel", { data: duel.duel });
        clientside.shell.slow = true;
        return { pushed: false };
      } catch (_unreachable) {
        return noUpdate();
      }
    },

    where: function (path, pages) {
      const inside = (path || "/").slice(window.hubPath("/").length - 1);
      const here = window.hubPath("/" + (inside.split("/")[1] || ""));
      const page = pages.find((each) => each.path === here);
      document.title = (page ? page.name : "Nothing here") + " · FeedbackLoop";
      return pages.map((each) => "nav-link" + (each === page ? " here" : ""));
    },

    // The number beside each page's name; a page's script may add its function to `counts`.
    counts: function (status, runs, pages) {
      return pages.map((page) => {
        const count = clientside.counts[page.icon];
        return (status && count && String(count(status, runs || []) || "")) || "";
      });
    },

    simulated: function (status) {
      if (!status || !status.simulated) return ["", "badge badge-simulated hidden"];
      const others = Object.keys(status.sources).some((source) => source !== "simulation");
      return [others ? "Partly simulated data" : "Simulated data", "badge badge-simulated"];
    },
  };
})();
