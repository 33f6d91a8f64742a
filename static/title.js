// The page's title: shows what needs attention now, also in another tab. It follows the state and needs no timer.

const NAME = 'Wardroom';
/** Texts by their subject; the latest is shown. */
const alerts = new Map();

/** Shows `text` in the title for this subject; null ends it. */
export function setTitleAlert(subject, text) {
  alerts.delete(subject);
  if (text) alerts.set(subject, text);
  const latest = [...alerts.values()].at(-1);
  document.title = latest ? `● ${latest} – ${NAME}` : NAME;
}
