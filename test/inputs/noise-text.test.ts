import t from 'tap'
import { isNoiseText } from '../../src/backends/cascade/noise-text.js'
import type { Evidence } from '../../src/backends/cascade/stage.js'

// What recognisers write for sound without words, and what callers really say.

t.test('what was written for noise is not answered', async (t) => {
  for (const [text, voicedMs, evidence = {}] of [
    ['', 900],
    ['[BLANK_AUDIO]', 900],
    ['(upbeat music)', 2000],
    ['*coughs*', 400],
    ['♪ la la la ♪', 3000],
    ['[Applause] [Laughter]', 3000],
    ['<|nospeech|>', 800],
    ['…', 500],
    ['Subtitles by the Amara.org community', 4000],
    ['Untertitel im Auftrag des ZDF für funk, 2017', 4000],
    ['Sous-titrage ST’ 501', 2500],
    ['Legendas pela comunidade', 2500],
    ['Thanks for watching!', 2000],
    ['Please subscribe to our channel.', 3000],
    ['Gracias por ver el video.', 2000],
    ['字幕由社区提供', 2000],
    ['www.mooji.org', 1500],
    ['Thank you. Thank you.', 400],
    ['Thank you.', 260],
    ['Thank you very much. Bye.', 500],
    ['Okay. Okay. Okay. Okay. Okay. Okay.', 900],
    ['I am going. I am going. I am going. I am going. I am going. I am going.', 9000],
    ['So, I think that we should really go there tomorrow and see what they have for us.', 300],
    ['Where is my order?', 900, { noSpeech: 0.9, logprob: -1.4 }],
    ['The the the the the the the', 3000, { compression: 3.1 }],
  ] as readonly (readonly [string, number, Evidence?])[])
    t.ok(isNoiseText(text, voicedMs, evidence), text)
})

t.test('what a caller said is answered', async (t) => {
  for (const [text, voicedMs, evidence = {}] of [
    ['Thank you.', 600],
    ['Bye.', 300],
    ['Asante.', 500],
    ['Sawa.', 300],
    ['You.', 280],
    ['Thank you. Thank you.', 1300],
    ['No, no, no, no, no.', 1200],
    ['Where is my order?', 900, { noSpeech: 0.1, logprob: -0.2, compression: 0.9 }],
    ['Where is my order?', 900, { noSpeech: 0.7, logprob: -0.3 }],
    ['4127', 1500],
    ['Nataka kujua mzigo wangu umefika wapi', 2200],
    ['(laughs) yes please', 1200],
    ['music is too loud, can you repeat?', 2000],
  ] as readonly (readonly [string, number, Evidence?])[])
    t.notOk(isNoiseText(text, voicedMs, evidence), text)
})
