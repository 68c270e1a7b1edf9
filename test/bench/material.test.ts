import t from 'tap'
import { readRecording, recordings } from '../../bench/material.js'
import { levelDbfs } from '../../src/media/pcm.js'
import { hasMaterial } from '../support/material.js'

t.test('people and music that Debian has are read at both rates of a leg', async (t) => {
  if (!hasMaterial(t, 'allison', 'june', 'carlo', 'music')) return
  t.ok(recordings('allison').includes('digits/4'))
  t.equal(recordings('music').length, 5)
  for (const [material, name] of [
    ['allison', 'vm-goodbye'],
    ['june', 'vm-goodbye'],
    ['carlo', 'vm-goodbye'],
  ] as const) {
    const narrow = await readRecording(material, name, 8000)
    const wide = await readRecording(material, name, 16000)
    t.ok(Math.abs(wide.length / 2 - narrow.length) < 8000 / 10, `${material}: the same duration`)
    t.ok(levelDbfs(wide) > -40 && levelDbfs(narrow) > -40, `${material}: somebody speaks`)
  }
})
