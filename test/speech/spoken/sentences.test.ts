import fc from 'fast-check'
import t from 'tap'
import { isSpeakable, sentenceEnd, sentencesOf } from '../../../src/speech/spoken/sentences.js'

t.test('text is cut into sentences where a reader would pause', async (t) => {
  for (const [text, sentences] of [
    ['Hello. Is that right?  Yes!', ['Hello.', 'Is that right?', 'Yes!']],
    ['It costs 3.50 at 4 p.m. today.', ['It costs 3.50 at 4 p.m. today.']],
    ['We open at 9 a.m. We close at five.', ['We open at 9 a.m.', 'We close at five.']],
    ['Mr. Mwangi called.', ['Mr. Mwangi called.']],
    ['It costs Ksh. 500 only. Fine.', ['It costs Ksh. 500 only.', 'Fine.']],
    ['Bw. Otieno yuko. Asante.', ['Bw. Otieno yuko.', 'Asante.']],
    ['1. Go home. 2. Sleep well.', ['1. Go home.', '2. Sleep well.']],
    ['He said "no." Then left.', ['He said "no."', 'Then left.']],
    ['Line one\nLine two', ['Line one', 'Line two']],
    ['ሰላም። እንዴት ነህ።', ['ሰላም።', 'እንዴት ነህ።']],
    ['您好。今天可以。', ['您好。', '今天可以。']],
    ['आप कैसे हैं। ठीक।', ['आप कैसे हैं।', 'ठीक।']],
    ['هل أنت هناك؟ نعم.', ['هل أنت هناك؟', 'نعم.']],
    ['No end', ['No end']],
    [' … \n 😊 ---', []],
  ] as const)
    t.same(sentencesOf(text), sentences, text)
})

t.test('a sentence that is being written ends only where nothing can go on', async (t) => {
  for (const [text, end] of [
    ['It costs Ksh. ', 0],
    ['It costs Ksh. 500. ', 19],
    ['At 9 a.m. ', 0],
    ['At 9 a.m. We', 10],
    ['Sure.', 0],
    ['Sure. ', 6],
    ['1. ', 0],
  ] as const)
    t.equal(sentenceEnd(text), end, text)
})

t.test('no sentence is long, and no word is lost', async () => {
  fc.assert(
    fc.property(fc.array(fc.stringMatching(/^[a-z]{1,12}[,.]?$/), { maxLength: 120 }), (words) => {
      const sentences = sentencesOf(words.join(' '))
      return sentences.every((sentence) => sentence.length <= 160) && sentences.join(' ') === words.join(' ')
    }),
  )
})

t.test('only letters and figures can be spoken', async (t) => {
  for (const text of ['😊', '…', '—', '---|---', ' ', '"?"', '👍🏽']) t.notOk(isSpeakable(text), text)
  for (const text of ['ok', '5', 'ሰላም', '1.']) t.ok(isSpeakable(text), text)
})
