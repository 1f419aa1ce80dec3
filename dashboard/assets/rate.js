// The page Rate: <feedbackloop-rate> for who has signed in, or is named above it. The element itself is access/widget/widget.js.
(function () {
  "use strict";
  const clientside = (window.dash_clientside = window.dash_clientside || {});
  const TYPING = 500; // milliseconds without a key after which the name is complete: no leases for prefixes of the name
  let typing;

  function rate(name, focus) {
    const place = document.getElementById("rate-element");
    if (!place) return; // another page is shown by now
    const rater = place.firstChild || place.appendChild(document.createElement("feedbackloop-rate"));
    rater.setAttribute("recruiter", name);
    rater.hidden = !name;
    document.getElementById("rate-empty").hidden = Boolean(name);
    if (focus) rater.focus(); // the keys work at once
  }

  document.addEventListener("keydown", function (event) {
    if (event.target.id !== "rate-name" || !["Enter", "Escape"].includes(event.key)) return;
    clearTimeout(typing);
    rate(event.target.value.trim(), true);
  });

  clientside.rate = {
    signedIn: function (id) {
      const rater = document.getElementById(id).appendChild(document.createElement("feedbackloop-rate"));
      rater.setAttribute("signed-in", "");
      rater.focus();
      return "";
    },

    remember: function (typed, _written, kept) {
      const asked = window.dash_clientside.callback_context.triggered.map((t) => t.prop_id);
      const byTyping = asked.length === 1 && asked[0] === "rate-name.value";
      const name = byTyping ? typed : typed || kept || "";
      clearTimeout(typing);
      typing = setTimeout(rate, byTyping ? TYPING : 0, name.trim(), !byTyping);
      const no = window.dash_clientside.no_update;
      return [name === typed ? no : name, name === kept ? no : name];
    },
  };
})();
