import t from 'tap'
import { MODELS, spokenCall } from './model-calls.js'

// Calls are spoken in real time. Two at a time: more callers, each with a recogniser, keep two cores so busy that speech
// has gaps.
t.setTimeout(500_000)
t.jobs = 2

for (const model of MODELS)
  t.test(`a spoken call runs on ${model.name} as it does offline`, { buffered: true }, (t) => spokenCall(t, model))
