import t from 'tap'
import { command } from '../support/command.js'

const FOLDER = 'test/agents/call-backs'

t.test('forbidden call backs are refused in both languages', async (t) => {
  const { code, out, err } = await command(['simulate', `${FOLDER}/scenarios`, '--agents', FOLDER])
  t.equal(code, 0, `${out}${err}`)
  t.match(out, /2/)
})
