import t from 'tap'
import { frameSamples, type LegRateHz } from '../../src/core/units.js'
import { CallerPath } from '../../src/media/caller-path.js'
import { levelDbfs, samplesOf } from '../../src/media/pcm.js'
import type { ForkedTrack } from '../../src/media/reframer.js'
import { PCM_8K, ffmpeg, hasFfmpeg } from '../support/ffmpeg.js'
import { loadVads } from '../support/media-modules.js'
import { BARGE_IN, Rig } from '../call/rig.js'
import { arrivals, type LineConditions } from '../support/netem.js'
import {
  bytesOf,
  concatenate,
  framesOf,
  mix,
  pinkNoise,
  sameSamples,
  silence,
  speechLike,
  tone,
} from '../support/tones.js'

const vadBank = await loadVads()

interface Heard {
  readonly audio: Int16Array
  readonly voiced: boolean[]
  readonly echo: boolean[]
  readonly digits: string
  readonly mediaMs: number[]
  /** From the arrival of a frame's last byte to its pull. */
  readonly waitedMs: number[]
  readonly path: CallerPath
}

interface Call {
  readonly sampleRateHz: LegRateHz
  readonly track?: ForkedTrack
  readonly line?: LineConditions
  /** Frames that we send, one at each frame of the caller's. */
  readonly agent?: Int16Array
}

/** Carries `audio` (interleaved when stereo) over a line into a caller path, as one call does. */
function carry(
  audio: Int16Array,
  channels: 1 | 2,
  { sampleRateHz, track = 'inbound_track', line, agent }: Call,
): Heard {
  const path = new CallerPath({ sampleRateHz, track, vadBank })
  const frames = framesOf(audio, frameSamples(sampleRateHz) * channels)
  const sent = agent === undefined ? [] : framesOf(agent, frameSamples(sampleRateHz))
  const times = arrivals(frames.length, line ?? { seed: 1 })
  const heard = {
    audio: [] as Int16Array[],
    voiced: [] as boolean[],
    echo: [] as boolean[],
    mediaMs: [] as number[],
    waitedMs: [] as number[],
  }
  let digits = ''
  let next = 0
  let played = 0
  for (let now = 0; next < frames.length || path.stats.framesWaiting > 0; now += 10) {
    for (; played < sent.length && played * 20 <= now; played++)
      path.playedReference(sent[played] as Int16Array, played * 20)
    while (next < frames.length && (times[next] as number) <= now) {
      const at = times[next] as number
      const together: Int16Array[] = []
      while (next < frames.length && times[next] === at) together.push(frames[next++] as Int16Array)
      path.push(bytesOf(concatenate(...together)), at)
    }
    while (path.pull(now)) {
      if (path.concealed) continue
      heard.audio.push(path.frame.slice())
      heard.voiced.push(path.voiced)
      heard.echo.push(path.echo)
      heard.mediaMs.push(path.mediaMs)
      heard.waitedMs.push(now - path.arrivalMs)
      digits += path.digit ?? ''
    }
  }
  path.release()
  return { ...heard, audio: concatenate(...heard.audio), digits, path }
}

function interleave(left: Int16Array, right: Int16Array): Int16Array {
  return Int16Array.from({ length: 2 * left.length }, (_, i) => (i % 2 === 0 ? left[i >> 1] : right[i >> 1]) ?? 0)
}

for (const rate of [8000, 16000] as const) {
  const speech = (ms: number, seed: number) => speechLike({ sampleRateHz: rate, ms, amplitude: 12_000 }, seed)

  t.test(`${rate} Hz: caller audio passes unchanged and on time`, (t) => {
    const audio = concatenate(silence(rate, 1000), speech(2000, 1), silence(rate, 1000))
    const heard = carry(audio, 1, { sampleRateHz: rate })
    t.ok(sameSamples(heard.audio, audio))
    t.same(
      heard.mediaMs,
      Array.from({ length: 200 }, (_, i) => (i + 1) * 20),
    )
    t.ok(Math.max(...heard.waitedMs) <= 10)
    t.equal(heard.voiced.slice(0, 50).includes(true), false)
    const onset = heard.voiced.indexOf(true)
    t.ok(onset >= 50 && onset <= 52, `voice from frame ${onset}`)
    t.ok(heard.voiced.slice(50, 150).filter(Boolean).length > 60)
    t.ok(heard.voiced.lastIndexOf(true) < 165)
    t.end()
  })

  t.test(`${rate} Hz: digits, ringback and dial tone are not voice`, (t) => {
    const shape = { sampleRateHz: rate, ms: 100, amplitude: 5000 }
    const keys = [
      [770, 1336],
      [941, 1209],
      [697, 1477],
    ].flatMap((hz) => [tone(hz, shape), silence(rate, 100)])
    const ringback = [1, 2].flatMap(() => [tone([440, 480], { ...shape, ms: 1000 }), silence(rate, 500)])
    const audio = mix(
      concatenate(silence(rate, 500), ...keys, ...ringback, tone([425], { ...shape, ms: 1500 })),
      pinkNoise({ sampleRateHz: rate, ms: 5000, amplitude: 15 }, 1),
    )
    const heard = carry(audio, 1, { sampleRateHz: rate })
    t.equal(heard.digits, '5*3')
    t.equal(heard.path.stats.digits, 3)
    const voiced = heard.voiced.filter(Boolean).length
    t.ok(voiced <= 2, `${voiced} frames pass for voice`)
    t.end()
  })

  t.test(`${rate} Hz: only coughs and doors are counted as noise`, (t) => {
    const burst = (ms: number) => pinkNoise({ sampleRateHz: rate, ms, amplitude: 4000 }, 3)
    const noises = carry(
      concatenate(silence(rate, 1000), burst(400), silence(rate, 1000), burst(60), silence(rate, 1000)),
      1,
      { sampleRateHz: rate },
    ).path.stats
    t.ok(noises.framesOfNoise >= 18 && noises.framesOfNoise <= 22, `${noises.framesOfNoise} frames, not the click`)
    t.ok(Math.abs(noises.noiseDbfs - levelDbfs(burst(400))) < 6, `${noises.noiseDbfs} dBFS`)
    const digit = tone([770, 1336], { sampleRateHz: rate, ms: 120, amplitude: 5000 })
    const caller = concatenate(silence(rate, 1000), speech(2000, 1), silence(rate, 500), digit, silence(rate, 1000))
    t.equal(carry(caller, 1, { sampleRateHz: rate }).path.stats.framesOfNoise, 0)
    t.end()
  })

  t.test(`${rate} Hz: stereo loses no audio during channel detection`, (t) => {
    const caller = concatenate(speech(1500, 1), silence(rate, 500))
    const agent = concatenate(silence(rate, 1000), speech(1000, 2))
    const heard = carry(interleave(caller, agent), 2, {
      sampleRateHz: rate,
      track: 'both_tracks',
      line: { seed: 3, jitterMs: 10 },
    })
    t.equal(heard.path.stats.channels, 2)
    const { framesIn, framesOut, framesSkipped } = heard.path.stats
    t.equal(framesIn, 100)
    t.equal(framesOut + framesSkipped, 100)
    const loud = (samples: Int16Array) => concatenate(...framesOf(samples, rate / 50).filter((f) => levelDbfs(f) > -50))
    t.same(loud(heard.audio), loud(caller), 'only the caller, from the first word')
    t.end()
  })

  t.test(`${rate} Hz: on mono both_tracks agent speech is echo`, (t) => {
    const agent = speech(6000, 2)
    const delayed = concatenate(silence(rate, 200), agent)
    const caller = concatenate(silence(rate, 7000), speech(2000, 5))
    const audio = mix(mix(delayed, caller), pinkNoise({ sampleRateHz: rate, ms: 9000, amplitude: 15 }, 1))
    const heard = carry(audio, 1, { sampleRateHz: rate, track: 'both_tracks', agent, line: { seed: 5, jitterMs: 5 } })
    t.equal(heard.path.stats.channels, 1)
    const fromAgent = heard.voiced.filter((v, i) => v && (heard.mediaMs[i] as number) < 6500).length
    t.ok(fromAgent <= 6, `${fromAgent} frames of our own speech pass for the caller`)
    const ofCaller = heard.voiced.filter((v, i) => v && (heard.mediaMs[i] as number) > 7000).length
    t.ok(ofCaller > 60, `${ofCaller} frames of the caller are voiced`)
    t.ok(Math.abs((heard.path.echoDelayMs ?? 0) - 200) <= 30, `echo after ${heard.path.echoDelayMs} ms`)
    t.end()
  })

  t.test(`${rate} Hz: caller words are whole after a stall`, (t) => {
    const audio = concatenate(speech(2000, 1), silence(rate, 2000), speech(2000, 2), silence(rate, 2000))
    const heard = carry(audio, 1, { sampleRateHz: rate, line: { seed: 1, stalls: [{ atMs: 1500, ms: 1500 }] } })
    const { stats } = heard.path
    t.equal(stats.stalls, 1)
    t.ok(stats.framesSkipped > 10)
    t.equal(stats.framesDropped, 0)
    t.equal(stats.framesIn, 400)
    t.equal(stats.framesIn, stats.framesOut + stats.framesSkipped)
    t.ok(sameSamples(heard.audio.slice(0, rate), audio.slice(0, rate)))
    const second = heard.mediaMs.indexOf(4020)
    t.ok(
      sameSamples(
        heard.audio.slice(second * (rate / 50), second * (rate / 50) + 2 * rate),
        audio.slice(4 * rate, 6 * rate),
      ),
      'the second sentence is untouched',
    )
    t.ok(Math.max(...heard.waitedMs.slice(-100)) <= 10)
    t.end()
  })
}

t.test('a concealed frame counts as neither voice nor digit', (t) => {
  const path = new CallerPath({ sampleRateHz: 8000, track: 'inbound_track', vadBank })
  const frames = framesOf(
    concatenate(silence(8000, 400), tone([770, 1336], { sampleRateHz: 8000, ms: 400, amplitude: 6000 })),
    160,
  )
  let digits = ''
  let made = 0
  frames.slice(0, 25).forEach((frame, i) => {
    path.push(bytesOf(frame), i * 20)
    while (path.pull(i * 20)) digits += path.digit ?? ''
  })
  t.equal(digits, '5')
  for (let now = 500; now < 800; now += 10) {
    while (path.pull(now)) {
      t.equal(path.concealed, true)
      t.equal(path.voiced, false)
      t.equal(path.digit, null)
      t.ok(path.levelDbfs > -40 && path.levelDbfs < -10)
      made++
    }
  }
  t.equal(made, 1)
  path.release()
  t.end()
})

t.test('odd, empty and oversized packets do not change the audio', (t) => {
  const audio = speechLike({ sampleRateHz: 16000, ms: 1000, amplitude: 9000 }, 4)
  const bytes = bytesOf(audio)
  const path = new CallerPath({ sampleRateHz: 16000, track: 'inbound_track', vadBank })
  const got: Int16Array[] = []
  let nowMs = 0
  for (let at = 0; at < bytes.length; at += 777) {
    path.push(bytes.subarray(at, at + 777), nowMs)
    path.push(new Uint8Array(0), nowMs)
    for (let i = 0; i < 3; i++, nowMs += 8) while (path.pull(nowMs)) if (!path.concealed) got.push(path.frame.slice())
  }
  for (let i = 0; i < 10; i++, nowMs += 10) while (path.pull(nowMs)) if (!path.concealed) got.push(path.frame.slice())
  const heard = concatenate(...got)
  t.equal(path.stats.bytesIn, bytes.length)
  t.ok(sameSamples(heard.slice(0, 16_000 - 320), audio.slice(0, heard.length).slice(0, 16_000 - 320)))
  path.release()
  t.end()
})

t.test('a 128 KiB frame is truncated and the loss counted', (t) => {
  const path = new CallerPath({ sampleRateHz: 16000, track: 'inbound_track', vadBank })
  path.push(new Uint8Array(128 * 1024).fill(7), 0)
  const { framesIn, framesDropped, framesWaiting } = path.stats
  t.equal(framesIn, 204)
  t.equal(framesDropped, 54)
  t.equal(framesWaiting, 150)
  path.release()
  t.end()
})

t.test('frames received before the stream opened are marked early', async (t) => {
  for (const sampleRateHz of [8000, 16000] as const) {
    for (const track of ['inbound_track', 'both_tracks'] as const) {
      const path = new CallerPath({ sampleRateHz, track, vadBank })
      const frames = framesOf(speechLike({ sampleRateHz, ms: 3000, amplitude: 4000 }, 7), frameSamples(sampleRateHz))
      path.openedAtMs = 1000
      // 1.22 s at once, 4 ms after the opening, then a frame each 20 ms.
      path.push(bytesOf(concatenate(...frames.slice(0, 61))), 1004)
      const judged: boolean[] = []
      let early = 0
      for (let nowMs = 1004, next = 61; next < frames.length || path.stats.framesWaiting > 0; nowMs += 5) {
        if (next < frames.length && nowMs >= 1004 + 20 * (next - 60))
          path.push(bytesOf(frames[next++] as Int16Array), nowMs)
        while (path.pull(nowMs)) {
          // The last frame of the burst ends when it arrives. Quiet ones may be given up to catch up.
          judged.push(path.early === path.mediaMs < 61 * 20)
          if (path.early) early++
        }
      }
      path.release()
      t.ok(judged.length > 120 && early > 40, `${early} of ${judged.length} frames`)
      t.notOk(judged.includes(false))
    }
  }
})

t.test('frames delayed by a stall are not marked early', async (t) => {
  const path = new CallerPath({ sampleRateHz: 8000, track: 'inbound_track', vadBank })
  const frames = framesOf(speechLike({ sampleRateHz: 8000, ms: 1000, amplitude: 4000 }, 7), frameSamples(8000))
  path.openedAtMs = 1000
  path.push(bytesOf(frames[0] as Int16Array), 1020)
  path.push(bytesOf(concatenate(...frames.slice(1))), 2000)
  for (let nowMs = 1020; nowMs < 3000; nowMs += 5) while (path.pull(nowMs)) t.notOk(path.early)
  path.release()
})

const keyOf = (rate: LegRateHz, row: number, column: number, ms: number): Int16Array =>
  mix(
    tone([row], { sampleRateHz: rate, ms, amplitude: 4000 }),
    tone([column], { sampleRateHz: rate, ms, amplitude: 4000 }),
  )

for (const rate of [8000, 16000] as const) {
  t.test(`${rate} Hz: two presses 40 ms apart give two digits`, (t) => {
    const five = keyOf(rate, 770, 1336, 200)
    for (let offsetMs = 0; offsetMs < 20; offsetMs += 3)
      for (const [gapMs, digits] of [
        [10, '5'],
        [40, '55'],
        [45, '55'],
        [50, '55'],
        [60, '55'],
        [80, '55'],
        [100, '55'],
        [200, '55'],
      ] as const) {
        // A gap of 10 n ms of which both tones had whole periods would look like a loss.
        const audio = concatenate(
          silence(rate, 100 + offsetMs),
          ...[five, silence(rate, gapMs), keyOf(rate, 770, 1336, 207).subarray((rate * 7) / 1000)],
          silence(rate, 300 - offsetMs),
        )
        const heard = carry(audio, 1, { sampleRateHz: rate })
        t.equal(heard.digits, digits, `${gapMs} ms, at ${offsetMs} ms`)
        t.equal(heard.path.stats.digits, digits.length)
      }
    t.end()
  })

  t.test(`${rate} Hz: a 60 ms gap leaves one press`, (t) => {
    for (const [row, column, key] of [
      [697, 1209, '1'],
      [941, 1336, '0'],
      [852, 1477, '9'],
    ] as const)
      for (let offsetMs = 0; offsetMs < 20; offsetMs += 3)
        for (const lostMs of [20, 40, 60]) {
          const held = keyOf(rate, row, column, 400)
          held.fill(0, (rate / 1000) * 160, (rate / 1000) * (160 + lostMs))
          const audio = concatenate(silence(rate, 100 + offsetMs), held, silence(rate, 300 - offsetMs))
          t.equal(carry(audio, 1, { sampleRateHz: rate }).digits, key, `${key}, ${lostMs} ms, at ${offsetMs} ms`)
        }
    t.end()
  })

  t.test(`${rate} Hz: a different key counts at once`, (t) => {
    const [five, seven] = [keyOf(rate, 770, 1336, 200), keyOf(rate, 852, 1209, 200)]
    const keys = [five, seven, five].flatMap((key) => [silence(rate, 50), key])
    t.equal(carry(concatenate(...keys, silence(rate, 200)), 1, { sampleRateHz: rate }).digits, '575')
    t.end()
  })

  t.test(`${rate} Hz: repeated keys at 50/50 ms are all counted`, (t) => {
    const rows = [697, 770, 852, 941]
    const columns = [1209, 1336, 1477]
    for (const [at, number] of ['0722005566', '0733112244', '0110998877', '0700000000', '0755667788'].entries()) {
      const keys = [...number].flatMap((digit, place) => {
        const index = '123456789*0#'.indexOf(digit)
        const phase = (3 + 5 * place + 7 * at) % 13
        const key = keyOf(rate, rows[Math.floor(index / 3)] ?? 0, columns[index % 3] ?? 0, 50 + phase)
        return [key.subarray((rate / 1000) * phase), silence(rate, 50)]
      })
      t.equal(
        carry(concatenate(silence(rate, 100), ...keys, silence(rate, 200)), 1, { sampleRateHz: rate }).digits,
        number,
      )
    }
    t.end()
  })
}

const toGsm = (line: Int16Array): Buffer => ffmpeg(bytesOf(line), ...PCM_8K, '-f', 'gsm', '-c:a', 'libgsm', 'pipe:1')
const fromGsm = (coded: Uint8Array): Int16Array =>
  samplesOf(ffmpeg(coded, '-f', 'gsm', '-i', 'pipe:0', '-f', 's16le', 'pipe:1'))

t.test('a key over two lost GSM packets is one press', (t) => {
  if (!hasFfmpeg(t)) return void t.end()
  const packet = 33
  for (const [row, column, key] of [
    [697, 1209, '1'],
    [770, 1336, '5'],
    [941, 1336, '0'],
    [852, 1477, '9'],
  ] as const) {
    const held = concatenate(silence(8000, 400), keyOf(8000, row, column, 400), silence(8000, 400))
    const coded = toGsm(held)
    for (let lost = 22; lost < 38; lost += 3) {
      // A decoder repeats the last good packet, and mutes (GSM 06.11).
      const received = Buffer.from(coded)
      const good = coded.subarray((lost - 1) * packet, lost * packet)
      for (const place of [lost, lost + 1]) received.set(good, place * packet)
      const line = fromGsm(received)
      line.fill(0, lost * 160, (lost + 2) * 160)
      t.equal(carry(line, 1, { sampleRateHz: 8000 }).digits, key, `${key}, packets ${lost} and ${lost + 1}`)
    }
  }
  t.end()
})

/** The caller's line while the agent speaks: 16 keys, their network's noise, and our own speech that comes back. */
function keysOverTheAgent(code: (line: Int16Array) => Int16Array) {
  const keys = [697, 770, 852, 941].flatMap((row) => [1209, 1336, 1477, 1633].map((column) => [row, column] as const))
  const keyed = concatenate(
    silence(8000, 3000),
    ...keys.flatMap(([row, column], at) => [
      silence(8000, (at * 7) % 20),
      keyOf(8000, row, column, 100),
      silence(8000, 1500),
    ]),
  )
  const ms = Math.floor(keyed.length / 8)
  const agent = speechLike({ sampleRateHz: 8000, ms, amplitude: 9000 }, 5)
  const echo = concatenate(
    silence(8000, 120),
    agent.map((sample) => sample / 10),
  )
  const line = code(
    mix(mix(keyed, pinkNoise({ sampleRateHz: 8000, ms, amplitude: 30 }, 2)), echo.subarray(0, keyed.length)),
  )
  const path = new CallerPath({ sampleRateHz: 8000, track: 'inbound_track', vadBank })
  const rig = Rig.talking({ bargeIn: { ...BARGE_IN, onDtmf: false, protectGreeting: false } })
  const sent = framesOf(agent, 160)
  let digits = ''
  for (const [at, frame] of framesOf(line, 160).entries()) {
    if (at % 100 === 0) rig.answer(2 + at / 100, `answer-${at}`, 2000)
    path.playedReference(sent[at] as Int16Array, at * 20)
    path.push(bytesOf(frame), at * 20)
    while (path.pull(at * 20)) {
      const { digit, voiced, doubtful, levelDbfs: level, pitchHz } = path
      digits += digit ?? ''
      if (digit !== null) rig.in({ type: 'dtmf', digit })
      rig.speak(20, { voiced, doubtful, levelDbfs: level, pitchHz })
    }
  }
  path.release()
  return { digits, turns: rig.logged('barge-in').filter(({ committed }) => committed).length }
}

for (const [line, code] of [
  ['a GSM line', (pcm: Int16Array) => fromGsm(toGsm(pcm))],
  ['a plain line', (pcm: Int16Array) => pcm],
] as const)
  t.test(`keys over the agent's echo on ${line} start no turn`, (t) => {
    if (line === 'a GSM line' && !hasFfmpeg(t)) return void t.end()
    const { digits, turns } = keysOverTheAgent(code)
    t.ok(digits.length >= 15, digits)
    t.equal(turns, 0)
    t.end()
  })

t.test('a key held over Opus with DTX is one press', (t) => {
  if (!hasFfmpeg(t)) return void t.end()
  for (const [row, column, key] of [
    [697, 1209, '1'],
    [770, 1336, '5'],
    [941, 1336, '0'],
    [852, 1477, '9'],
  ] as const) {
    const held = concatenate(silence(8000, 1000), keyOf(8000, row, column, 800), silence(8000, 1000))
    const coded = ffmpeg(
      bytesOf(held),
      ...[...PCM_8K, '-c:a', 'libopus', '-dtx', '1', '-application', 'voip', '-b:a', '8k', '-f', 'ogg', 'pipe:1'],
    )
    const line = samplesOf(
      ffmpeg(coded, '-f', 'ogg', '-i', 'pipe:0', '-ar', '8000', '-ac', '1', '-f', 's16le', 'pipe:1'),
    )
    t.equal(carry(line, 1, { sampleRateHz: 8000 }).digits, key)
  }
  t.end()
})
