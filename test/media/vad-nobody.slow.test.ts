import t from 'tap'
import { missingAlbums, missingMaterial } from '../../bench/material.js'
import { JUDGING_ALBUMS, measureNobody } from '../../bench/vad/nobody.js'
import { missingInstruments } from '../../bench/vad/rendered.js'
import { loadVads } from '../support/media-modules.js'

// A minute of each noise: `node dist/bench/vad/main.js --nobody` takes two, and bench/vad/README.md has its table.
t.setTimeout(500_000)

const { rows, missing } = await measureNobody(await loadVads(), 60_000)
const named = (part: string) => rows.filter(({ name }) => name.includes(part))
const mean = (numbers: readonly number[]): number => numbers.reduce((sum, one) => sum + one, 0) / numbers.length

t.test('steady noise takes no turn, and hardly passes for a voice on a leg of 16 kHz', (t) => {
  for (const noise of ['white noise', 'pink noise', 'brown noise']) {
    t.equal(named(noise).length, 3)
    for (const { name, line, voicedShare, pausesPerMin, commitsPerMin } of named(noise)) {
      t.ok(voicedShare < 0.002, `${name}, ${line}: ${(100 * voicedShare).toFixed(1)} % of the frames`)
      t.equal(pausesPerMin, 0, `${name}, ${line}: ${pausesPerMin} pauses a minute`)
      t.equal(commitsPerMin, 0, `${name}, ${line}`)
    }
  }
  t.end()
})

t.test('noise whose level steps, and a street, seldom pause the agent or take a turn', (t) => {
  for (const { name, line, pausesPerMin, commitsPerMin } of [...named('comfort noise'), ...named('street')]) {
    t.ok(commitsPerMin <= 1, `${name}, ${line}: ${commitsPerMin} a minute`)
    t.ok(pausesPerMin <= 2, `${name}, ${line}: ${pausesPerMin} pauses a minute`)
  }
  t.end()
})

t.test('music on hold passes for a caller seldom: recorded pieces that nothing was fitted to', (t) => {
  if (missingMaterial('music') !== null) {
    console.error(`SKIPPED: ${t.name}: apt-get install --no-install-recommends ${missing.join(' ')}`)
    t.end()
    return
  }
  const judged = ['the_simplicity', 'morning_coffee', 'system'].flatMap(named)
  t.equal(judged.length, 9)
  for (const { name, line, voicedShare } of judged)
    t.ok(voicedShare < 0.09, `${name}, ${line}: ${(100 * voicedShare).toFixed(1)} % of the frames`)
  const share = mean(judged.map(({ voicedShare }) => voicedShare))
  t.ok(share < 0.04, `${(100 * share).toFixed(1)} % of all`)
  const commits = mean(judged.map(({ commitsPerMin }) => commitsPerMin))
  t.ok(commits <= 0.9, `${commits.toFixed(2)} turns taken a minute`)
  t.end()
})

t.test('the music of two games passes for a caller seldom: 31 pieces by hands that it never heard', (t) => {
  if (missingAlbums(...JUDGING_ALBUMS) !== null) {
    console.error(`SKIPPED: ${t.name}: apt-get install --no-install-recommends ${missing.join(' ')}`)
    t.end()
    return
  }
  const judged = named('mean of')
  t.equal(judged.length, 6)
  for (const { name, line, voicedShare } of judged)
    t.ok(voicedShare < 0.05, `${name}, ${line}: ${(100 * voicedShare).toFixed(1)} % of the frames`)
  const commits = mean(judged.map(({ commitsPerMin }) => commitsPerMin))
  t.ok(commits < 0.5, `${commits.toFixed(2)} turns taken a minute`)
  t.end()
})

t.test('pieces on sampled instruments, one in four of which it never heard, hardly ever', (t) => {
  if (missingInstruments() !== null) {
    console.error(`SKIPPED: ${t.name}: apt-get install --no-install-recommends ${missing.join(' ')}`)
    t.end()
    return
  }
  const judged = named('rendered')
  t.equal(judged.length, 18)
  const share = mean(judged.map(({ voicedShare }) => voicedShare))
  t.ok(share < 0.04, `${(100 * share).toFixed(1)} % of the frames`)
  t.end()
})
