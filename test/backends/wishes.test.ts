import t from 'tap'
import { vendorFault } from '../../src/backends/transport/vendor-fault.js'
import { Wishes } from '../../src/backends/wishes.js'

const refusal = (words: string) => vendorFault('bad_request', words, false)

t.test('only a refused field is left out', (t) => {
  const told: string[] = []
  const wishes = new Wishes((field) => told.push(field))
  t.same(wishes.of({ temperature: 0.5, speakingRate: 0.9, seed: undefined }), { temperature: 0.5, speakingRate: 0.9 })
  t.equal(wishes.refuses(refusal('This voice has no speaking rate.')), true)
  t.same(wishes.of({ temperature: 0.5, speakingRate: 0.9 }), { temperature: 0.5 })
  t.same(told, [], 'not before it works without it')
  t.equal(wishes.lacks('speakingRate'), false)
  wishes.worked()
  t.same(told, ['speakingRate'])
  t.equal(wishes.lacks('speakingRate'), true)
  t.end()
})

t.test('a fault of another kind leaves out no field', (t) => {
  const wishes = new Wishes()
  wishes.of({ speed: 0.9 })
  t.equal(wishes.refuses(vendorFault('internal', 'speed', false)), false)
  t.same(wishes.of({ speed: 0.9 }), { speed: 0.9 })
  t.end()
})

t.test('fields without fault are sent again', (t) => {
  const told: string[] = []
  const wishes = new Wishes((field) => told.push(field))
  wishes.of({ speed: 0.9 })
  t.equal(wishes.refuses(refusal('The text is empty.')), true, 'once without them')
  t.same(wishes.of({ speed: 0.9 }), {})
  t.equal(wishes.refuses(refusal('The text is empty.')), false, 'refused all the same')
  t.same(wishes.of({ speed: 0.9 }), { speed: 0.9 })
  t.same(told, [])
  t.end()
})

t.test('suspected fields count once the service works without them', (t) => {
  const told: string[] = []
  const wishes = new Wishes((field) => told.push(field))
  wishes.of({ speed: 0.9 })
  wishes.refuses(refusal('Bad request.'))
  t.same(told, [])
  wishes.worked()
  wishes.worked()
  t.same(told, ['speed'])
  t.equal(wishes.refuses(refusal('Another fault.')), false)
  t.same(wishes.of({ speed: 0.9 }), {}, 'left out for the rest of the call')
  t.end()
})

t.test('two requests in progress are repeated, a third is not', (t) => {
  const wishes = new Wishes()
  wishes.of({ speed: 0.9 })
  const fault = refusal("Request 1: unknown field 'speed'.")
  t.same(
    [1, 2, 3, 4].map((id) => wishes.refuses({ ...fault, message: fault.message.replace('1', String(id)) })),
    [true, true, true, false],
  )
  t.end()
})

t.test('two requests refused at once without a field are repeated', (t) => {
  const wishes = new Wishes()
  const sent = () => {
    wishes.of({ temperature: 1, maxTokens: 9 })
    return wishes.asked
  }
  const [first, second, third, fourth] = [sent(), sent(), sent(), sent()]
  const nameless = refusal('Invalid request.')
  t.equal(wishes.refuses(nameless, true, first), true)
  t.equal(wishes.refuses(nameless, true, second), true, 'it had the fields that are left out now')
  t.same(wishes.of({ temperature: 1, maxTokens: 9 }), {}, 'they stay left out')
  wishes.worked()
  t.equal(wishes.refuses(nameless, true, third), true, 'also when the service has worked since')
  t.equal(wishes.refuses(nameless, true, fourth), false, 'at most two')
  t.end()
})

t.test('a part of another word does not name a field', (t) => {
  const wishes = new Wishes()
  wishes.of({ rate: 1, temperature: 0.5 })
  wishes.refuses(refusal('temperature is not accurate for sample_rate: 8000'))
  t.same(wishes.of({ rate: 1, temperature: 0.5 }), { rate: 1 })
  t.end()
})

t.test('a one-word field name must match exactly', (t) => {
  const names = (words: string): boolean => {
    const wishes = new Wishes()
    wishes.of({ prompt: 'Zawadi' })
    return wishes.refuses(refusal(words), false)
  }
  for (const words of [
    "Unknown parameter: 'prompt'.",
    'session.prompt',
    'prompt.text',
    'prompt: not permitted',
    'no such field (prompt)',
    'stt: HTTP 400: Prompt is not supported.',
    'Unsupported value of prompt.',
  ])
    t.equal(names(words), true, words)
  for (const words of ['Please prompt again.', 'The system_prompt: empty', 'An answer to your prompt failed.'])
    t.equal(names(words), false, words)
  t.end()
})

t.test('a sample rate is not taken for the speed', (t) => {
  const wishes = new Wishes()
  wishes.of({ speed: 0.9 })
  t.equal(wishes.refuses(refusal('Unsupported sample_rate 8000'), false), false)
  t.equal(wishes.refuses(refusal("Unknown field 'speaking_rate'"), false), true)
  t.end()
})

t.test('an accepted field is not a suspect', (t) => {
  const wishes = new Wishes()
  wishes.of({ speed: 0.9 })
  wishes.worked()
  wishes.of({ speed: 0.9 })
  t.equal(wishes.refuses(refusal('The text is empty.')), false)
  t.same(wishes.of({ speed: 0.9 }), { speed: 0.9 })
  t.equal(wishes.refuses(refusal("No 'speed' today.")), true, 'named, it counts')
  t.same(wishes.of({ speed: 0.9 }), {})
  t.end()
})

t.test('a new value of an accepted field is a suspect', (t) => {
  const wishes = new Wishes()
  wishes.of({ speed: 0.9 })
  wishes.worked()
  wishes.of({ speed: 0.1 })
  t.equal(wishes.refuses(refusal('Bad request.')), true)
  t.same(wishes.of({ speed: 0.1 }), {})
  t.end()
})

t.test('a request sent before a suspicion does not confirm it', (t) => {
  const told: string[] = []
  const wishes = new Wishes((field) => told.push(field))
  wishes.of({ speed: 0.9 })
  const before = wishes.asked
  wishes.refuses(refusal('Bad request.'))
  wishes.worked(before)
  t.same(told, [])
  t.equal(wishes.lacks('speed'), false)
  t.equal(wishes.refuses(refusal('Bad request.')), false, 'refused all the same')
  t.same(wishes.of({ speed: 0.9 }), { speed: 0.9 })
  t.end()
})

t.test('an older request confirms only its own fields', (t) => {
  const wishes = new Wishes()
  wishes.of({ seed: 1 })
  const before = wishes.asked
  wishes.of({ seed: 1, speed: 0.9 })
  wishes.worked(before)
  t.equal(wishes.refuses(refusal('Bad request.')), true)
  t.same(wishes.of({ seed: 1, speed: 0.9 }), { seed: 1 })
  t.end()
})

t.test('fields marked last are kept at the first suspicion', (t) => {
  const wishes = new Wishes()
  const asked = () => ({ ...wishes.of({ usage: true }, true), ...wishes.of({ seed: 1 }) })
  t.same(asked(), { usage: true, seed: 1 })
  wishes.refuses(refusal('Bad request.'))
  t.same(asked(), { usage: true })
  t.equal(wishes.refuses(refusal('Bad request.')), true)
  t.same(asked(), {})
  t.equal(wishes.refuses(refusal('Bad request.')), false)
  t.same(asked(), { usage: true, seed: 1 })
  t.end()
})
