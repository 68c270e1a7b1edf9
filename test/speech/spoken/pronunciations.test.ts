import t from 'tap'
import { agentSchema } from '../../../src/agents/definition.js'
import { pronounced } from '../../../src/speech/spoken/pronunciations.js'
import { carrierSay } from '../../../src/workers/escalation-driver.js'

const STREET = { match: 'Muindi Mbingu', say: 'Moo-in-dee Mbeen-goo' }
const NAME = { match: 'Muindi', say: 'Moo-in-dee' }

const agent = (pronunciations: readonly { match: string; say: string }[]) =>
  agentSchema.safeParse({ version: 1, name: 'a', instructions: 'x', pronunciations })

t.test('names are replaced in whole words, in any case, the longest first', async (t) => {
  const list = [NAME, STREET, { match: 'G4S (K)', say: 'gee four ess' }, { match: 'Ng’ang’a', say: 'Nganga' }]
  for (const [written, said] of [
    ['On muindi  MBINGU Street.', 'On Moo-in-dee Mbeen-goo Street.'],
    ['Muindi, please: "Muindi"', 'Moo-in-dee, please: "Moo-in-dee"'],
    ['Muindis and Kamuindi', 'Muindis and Kamuindi'],
    ['Ng’ang’a Road', 'Nganga Road'],
    ['nothing of that', 'nothing of that'],
  ] as const)
    t.equal(pronounced(written, list), said, written)
  t.equal(pronounced('Muindi says $& and $1', [{ match: 'Muindi', say: '$&' }]), '$& says $& and $1')
})

t.test('what every sentence may have is refused, alone and twice', async (t) => {
  for (const [match, language] of [
    ['where', 'en'],
    ['City', 'en'],
    ['na', 'sw'],
    ['KESHO', 'sw'],
  ] as const)
    t.match(
      agent([{ match, say: 'x' }]).error?.message,
      new RegExp(`is ${match}, one of the 500 commonest words of ${language}`),
    )
  t.match(agent([NAME, { ...NAME, match: 'muindi' }]).error?.message, /which an earlier entry has/)
  t.match(agent([{ match: '(K)', say: 'kay' }]).error?.message, /must begin and end with a letter or a digit/)
  t.ok(agent([{ match: 'City Market', say: 'sitty market' }, STREET]).success)
})

t.test("the carrier's own voice says them, and figures as ever", async (t) => {
  const { data } = agent([STREET])
  if (data === undefined) throw new Error('the agent is refused')
  t.equal(carrierSay('Muindi Mbingu Street, KES 50.', data).text, 'Moo-in-dee Mbeen-goo Street, fifty shillings.')
})
