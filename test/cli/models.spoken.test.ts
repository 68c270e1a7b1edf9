import t from 'tap'
import { MODELS, spokenCall } from './model-calls.js'

// A call is spoken in real time.
t.setTimeout(300_000)

for (const model of MODELS.filter(({ name }) => name === 'openai'))
  t.test(`a spoken call runs on ${model.name} as it does offline`, (t) => spokenCall(t, model))
