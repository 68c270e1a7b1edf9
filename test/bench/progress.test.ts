import t from 'tap'
import { benchProgress } from '../../bench/kit/progress.js'

const CLEAR = '\r\u001b[K'

t.test('a bench shows on a terminal what it measures and for how long, below the lines that stay', (t) => {
  let shown = ''
  const write = (text: unknown): boolean => {
    shown += String(text)
    return true
  }
  const { say, show, end } = benchProgress({ write, isTTY: true })
  show('20 calls for 40 s')
  t.equal(shown, `${CLEAR}bench: 20 calls for 40 s, 0 s`)
  shown = ''
  say('p99 12 ms')
  t.equal(shown, `${CLEAR}p99 12 ms\n${CLEAR}bench: 20 calls for 40 s, 0 s`)
  shown = ''
  end()
  t.equal(shown, CLEAR, 'what follows is printed on an empty line')
  t.end()
})

t.test('elsewhere a bench prints only the lines that stay', (t) => {
  let shown = ''
  const { say, show, end } = benchProgress({ write: (text: unknown) => (shown += String(text)) !== '' })
  show('20 calls for 40 s')
  say('p99 12 ms')
  end()
  t.equal(shown, 'p99 12 ms\n')
  t.end()
})
