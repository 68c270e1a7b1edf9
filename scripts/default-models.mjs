// Fails if a default model of this version, or a model in the arguments, ends within 90 days (facts in src/vendors).
// Requires a build.
import { parseArgs } from 'node:util'
import { endOf, endText } from '../dist/src/backends/model-ends.js'
import { SETTINGS } from '../dist/src/config/settings.js'
import { SERVICES } from '../dist/src/vendors/list.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { on: { type: 'string', default: new Date().toISOString().slice(0, 10) } },
})

/** Expected time of use of a release, in days. */
const DEFAULT_DAYS = 90

/** Settings with the model of an operator's own server. Such servers have their own names for models. */
const OF_OWN_SERVERS = ['sttModel', 'llmModel', 'ttsModel', 'realtimeModel']

const settings = Object.entries(SETTINGS).filter(
  ([name, { fallback }]) => /Model$/.test(name) && typeof fallback === 'string' && !OF_OWN_SERVERS.includes(name),
)
const defaults = [
  ...settings.map(([, { fallback }]) => fallback),
  ...Object.values(SERVICES).flatMap((part) => [...part.values()].flatMap(({ own }) => own?.model ?? [])),
]
const wrong = [...new Set([...defaults, ...positionals])]
  .map((model) => endOf(model, Date.parse(values.on)))
  .filter((end) => end !== null && end.daysLeft <= DEFAULT_DAYS)
for (const end of wrong) console.error(endText(end))
if (wrong.length > 0) process.exitCode = 1
else console.log(`${defaults.length} default models last ${DEFAULT_DAYS} days and more`)
