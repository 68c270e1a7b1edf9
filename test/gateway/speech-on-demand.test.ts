import t from 'tap'
import { get, newSid, post, ringing } from '../edge/gateway.js'
import { whole } from '../support/gateway.js'
import { waitFor } from '../support/redis.js'

t.setTimeout(120_000)

/** A key like any other: nothing listens where it is used. */
const OPENAI = { OPENAI_API_KEY: 'a-key-of-the-tests-and-of-nothing-else', OPENAI_BASE_URL: 'ws://127.0.0.1:1' }

async function speechWorkers(opsPort: number): Promise<string | undefined> {
  const { text } = await get(`http://127.0.0.1:${opsPort}/metrics`)
  return /^mkondo_workers\{pool="speech"\} (\d+)$/m.exec(text)?.[1]
}

t.test('without an embedded backend no speech worker runs until a call rings', async (t) => {
  const { at, close } = await whole(OPENAI)
  t.teardown(close)
  t.equal(await speechWorkers(at.opsPort), '0')
  t.equal((await post(`http://127.0.0.1:${at.port}/voice/order-status`, { form: ringing(newSid()) })).status, 200)
  // Its voice loads while the call is being connected.
  await waitFor('the speech worker', async () => (await speechWorkers(at.opsPort)) === '1')
})

t.test('with an embedded backend the speech worker is ready before the first call', async (t) => {
  const { at, close } = await whole(OPENAI, (yaml) => yaml.replace('backend: auto', 'backend: [openai, embedded]'))
  t.teardown(close)
  t.equal(await speechWorkers(at.opsPort), '1')
})
