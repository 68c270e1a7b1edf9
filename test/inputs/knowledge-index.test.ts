import t from 'tap'
import { KnowledgeIndex } from '../../src/agents/knowledge.js'
import type { Passage } from '../../src/agents/knowledge.js'

const WORDS = ['mkopo', 'delivery', 'prépayé', 'ክፍያ', 'refund', 'branch', 'invoice', 'sim-card', 'loan', 'paybill']
const passage = (i: number, chars: number): Passage => ({
  title: `Topic ${i}`,
  also: [`${WORDS[i % WORDS.length] ?? ''} ${i}`],
  text: Array.from({ length: Math.ceil(chars / 8) }, (_, j) => `w${(i * 31 + j * 7) % 5000}`).join(' '),
})

/** Turns of the event loop in which other calls of the worker could run while the index was built. */
async function turnsWhile<T>(work: Promise<T>): Promise<{ readonly turns: number; readonly result: T }> {
  let turns = 0
  let over = false
  const count = (): void => {
    turns++
    if (!over) setImmediate(count)
  }
  setImmediate(count)
  const result = await work
  over = true
  return { turns, result }
}

t.test('while knowledge of any size is indexed, the other calls of the worker go on', async (t) => {
  const shapes: readonly (readonly [name: string, passages: number, chars: number])[] = [
    ['many short passages', 2000, 40],
    ['few long ones', 60, 1200],
    ['300 KB', 300, 1000],
    ['one passage', 1, 1200],
    ['none', 0, 0],
    ['one more than a slice', 9, 100],
  ]
  for (const [name, count, chars] of shapes) {
    const passages = Array.from({ length: count }, (_, i) => passage(i, chars))
    const { turns, result } = await turnsWhile(KnowledgeIndex.of(passages))
    t.ok(turns >= Math.floor(count / 8) - 1, `${name}: ${turns} turns`)
    if (count > 0)
      t.equal(result.search(`Topic ${count - 1}`)[0]?.title, `Topic ${count - 1}`, `${name}: the last is found`)
    else t.same(result.search('anything'), [])
  }
})
