import t from 'tap'
import { vocabularyOf } from '../../src/simulator/vocabulary.js'
import { startCall } from '../../src/carrier/carrier-call.js'
import type { PlaceCallOptions } from '../../src/carrier/call-options.js'
import type { CallerStep } from '../../src/simulator/caller-script.js'
import { simulatedPerson } from '../../src/simulator/caller.js'
import { CallerSpeech } from '../../src/simulator/caller-speech.js'
import { until } from '../support/until.js'
import { GatewayDouble } from './support/gateway-double.js'

const DIAL = '<Response><Dial timeout="20"><Number>+254700000010</Number></Dial></Response>'
const EMPTY = '<Response></Response>'

const speech = await CallerSpeech.start(null)
t.teardown(() => speech.close())

function optionsFor(
  double: GatewayDouble,
  more: Partial<PlaceCallOptions> = {},
  steps: readonly CallerStep[] = [],
): PlaceCallOptions {
  return {
    voiceUrl: `${double.origin}/voice`,
    eventsUrl: `${double.origin}/events`,
    from: '+254700000001',
    to: '+254700000000',
    giveUpMs: 400,
    human: { outcome: 'answered', ringMs: 100, talkMs: 100, greeting: null },
    caller: simulatedPerson({
      script: {
        name: 'silent',
        rules: [],
        steps,
        reactionMs: 0,
        patienceMs: steps.length > 0 ? 100 : 4000,
        order: null,
      },
      voice: 'rms',
      line: { sampleRateHz: 8000 },
      speech,
      files: new Map(),
      record: false,
      timeoutMs: 10_000,
      vocabulary: vocabularyOf(null),
    }),
    ...more,
  }
}

/** Answers with a stream and a Redirect, and closes the socket once the stream has started; the continuations give `then`. */
function closingGateway(
  t: { teardown(run: () => void): unknown },
  then: Readonly<Record<string, string>>,
): Promise<GatewayDouble> {
  let started = (): void => undefined
  const streams = new Promise<void>((resolve) => {
    started = resolve
  })
  return GatewayDouble.start({
    answer: (post, self) => {
      if (post.fields['callSessionState'] === 'StreamStarted') started()
      if (post.path.startsWith('/after-stream')) return then['after-stream'] ?? EMPTY
      if (post.fields['callSessionState'] === 'Ringing')
        return self.streamDocument(`<Redirect method="POST">${self.origin}/after-stream</Redirect>`)
      return then[post.fields['callSessionState'] ?? ''] ?? EMPTY
    },
    onSocket: (socket) => {
      void streams.then(() => socket.close(1000))
    },
  }).then((double) => {
    t.teardown(() => {
      double.close()
    })
    return double
  })
}

void t.test('a platform that continues fetches the Redirect and dials', async (t) => {
  const double = await closingGateway(t, { 'after-stream': DIAL })
  const result = await startCall(optionsFor(double, { afterStream: 'continues' })).done
  t.same(result.verbs, ['Stream', 'Redirect', 'Dial'])
  t.same(result.dials, [{ numbers: ['+254700000010'], outcome: 'answered' }])
  t.match(result.stream, { closedBy: 'gateway', closeCode: 1000 })
  t.same(double.postsOf('/voice'), ['Ringing', 'StreamStarted', 'DialCompleted', 'Completed'])
  t.same(result.complaints, [])
})

void t.test('a platform that re-posts StreamStopped runs the answered document', async (t) => {
  const double = await closingGateway(t, {
    StreamStopped: DIAL,
    Busy: '<Response><Say>Nobody is free.</Say><Hangup/></Response>',
  })
  const human = { outcome: 'busy', ringMs: 60, talkMs: 0, greeting: null } as const
  const result = await startCall(optionsFor(double, { afterStream: 'reposts', human, dialEdge: 'outcome' })).done
  t.same(result.verbs, ['Stream', 'Dial', 'Say', 'Hangup'], 'and never the Redirect')
  t.same(double.postsOf('/voice'), ['Ringing', 'StreamStarted', 'StreamStopped', 'Busy', 'Completed'])
  t.match(result.ended, { by: 'document', why: 'Hangup' })
  t.ok(result.heardPieces.length > 0, 'the words after the failed Dial were heard')
})

void t.test('a platform that holds leaves the caller in silence', async (t) => {
  const double = await closingGateway(t, { 'after-stream': DIAL, StreamStopped: DIAL })
  const result = await startCall(optionsFor(double, { afterStream: 'holds' })).done
  t.same(result.verbs, ['Stream'])
  t.same(result.dials, [])
  t.equal(result.ended.by, 'caller')
  t.same(double.postsOf('/events'), ['StreamStopped', 'Completed'])
})

void t.test('a held call can be ended through the REST API', async (t) => {
  const double = await closingGateway(t, {})
  const call = startCall(optionsFor(double, { afterStream: 'holds', giveUpMs: 20_000 }))
  await until(() => double.postsOf('/events').includes('StreamStopped'), 5000, 'the end of the stream')
  call.hangUp()
  const result = await call.done
  t.equal(result.ended.by, 'api')
})

void t.test('documents that a real carrier would reject are reported', async (t) => {
  const double = await GatewayDouble.start({
    refuse: 503,
    answer: (post, self) =>
      post.path.startsWith('/stream-status')
        ? DIAL
        : post.fields['callSessionState'] === 'Completed'
          ? self.streamDocument()
          : self.streamDocument().replace('bidirectionalSamplingRate="16000"', ''),
  })
  t.teardown(() => {
    double.close()
  })
  const result = await startCall(optionsFor(double)).done
  t.same(result.complaints.toSorted(), [
    'Completed was answered with another Stream: the carrier forks the call again and fails',
    'Stream has no bidirectionalSamplingRate: playing back is undefined then',
    'the media socket could not be opened: the upgrade was answered with "HTTP/1.1 503 Refused"',
    'the status webhook (stream-error) was answered with verbs, which a carrier does not run',
  ])
  t.same(double.postsOf('/stream-status'), ['stream-error'])
})

void t.test('keys are posted as Digits, and a rejected call ends', async (t) => {
  const double = await GatewayDouble.start({
    answer: (post) =>
      post.fields['Digits'] === undefined
        ? '<Response><GetDigits maxDigits="2" timeout="3"/></Response>'
        : '<Response><Reject reason="busy"/></Response>',
  })
  t.teardown(() => {
    double.close()
  })
  const press: CallerStep = { act: { type: 'press', keys: '42' }, heard: [], interruptAfterMs: null }
  const result = await startCall(
    optionsFor(double, { encoding: 'json', secret: 'whsec_test_only' }, [
      press,
      { ...press, act: { type: 'wait', ms: 5000 } },
    ]),
  ).done
  t.same(result.verbs, ['GetDigits', 'Reject'])
  const post = double.posts.find((one) => one.fields['Digits'] !== undefined)
  t.equal(post?.fields['Digits'], '42')
  t.match(post?.headers['x-sautikit-signature'], /^t=\d{10},v1=[0-9a-f]{64}$/)
  const silent = await GatewayDouble.start({ answer: () => null })
  t.teardown(() => {
    silent.close()
  })
  const refused = await startCall(optionsFor(silent)).done
  t.notOk(refused.answered)
  t.equal(refused.ended.by, 'carrier')
})
