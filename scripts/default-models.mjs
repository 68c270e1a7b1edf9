// Refuses models that are a default of this version, or are named as arguments, and end within 90 days
// (the facts of src/vendors). Needs a build.
import { parseArgs } from 'node:util'
import { endOf, endText } from '../dist/src/backends/model-ends.js'
import { SETTINGS } from '../dist/src/config/settings.js'
import { SERVICES } from '../dist/src/vendors/list.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { on: { type: 'string', default: new Date().toISOString().slice(0, 10) } },
})

/** A release is used for so long, in days. */
const DEFAULT_DAYS = 90

/** Settings with the model of a server of one's own, whose names are those that such servers understand. */
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
