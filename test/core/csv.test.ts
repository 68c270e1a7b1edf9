import t from 'tap'
import { csvText } from '../../src/core/csv.js'

t.test('a cell that a spreadsheet would execute becomes text', (t) => {
  for (const begin of ['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠'])
    t.match(csvText([[`${begin}cmd|' /C calc'!A0`]]), /^"?'/, JSON.stringify(begin))
  t.equal(csvText([['=HYPERLINK("http://x.example","y")']]), `"'=HYPERLINK(""http://x.example"",""y"")"\r\n`)
  t.equal(csvText([['+254700000001+1']]), `'+254700000001+1\r\n`)
  t.end()
})

t.test('numbers stay unchanged', (t) => {
  t.equal(csvText([['+254700000001', -3, '-3.5', true]]), '+254700000001,-3,-3.5,true\r\n')
  t.end()
})

t.test('separators, quotes and lines are quoted', (t) => {
  t.equal(csvText([['a,b', 'c"d', 'e\nf'], ['g']]), '"a,b","c""d","e\nf"\r\ng\r\n')
  t.end()
})
