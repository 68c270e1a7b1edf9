import t from 'tap'
import { ByType } from '../../src/workers/shared/by-type.js'

type Message = { readonly type: 'word'; readonly text: string } | { readonly type: 'end' } | { readonly type: 'other' }

t.test('parts that accept a type get messages in order', (t) => {
  const seen: string[] = []
  const parts = new ByType<Message, [atMs: number]>([
    { word: ({ text }, atMs) => seen.push(`first ${text} ${atMs}`) },
    undefined,
    { word: ({ text }) => seen.push(`second ${text}`), end: () => seen.push('end') },
  ])
  t.equal(parts.give({ type: 'word', text: 'habari' }, 7), true)
  t.same(seen, ['first habari 7', 'second habari'])
  t.end()
})

t.test('a message that no part accepts is reported', (t) => {
  const parts = new ByType<Message>([{ end: () => undefined }, {}])
  t.equal(parts.give({ type: 'other' }), false)
  t.equal(parts.give({ type: 'end' }), true)
  t.end()
})
