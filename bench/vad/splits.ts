import type { FliteVoice } from '../../src/speech/flite.js'
import { HELD_OUT_STYLES, type MusicStyle, VALIDATION_STYLES, drawnStyle } from './music.js'

/**
 * The detector's numbers are derived from `training`. With `validation`, the length of the fit, the weights of frames
 * and the threshold of speech are chosen. With `heldOut`, the result is measured. No two splits have common words,
 * pieces of music or seeds. The voices of `heldOut` are only in that split. The two other splits have the same voices
 * with different pitches.
 */
export type Split = 'training' | 'validation' | 'heldOut'

/** Splits with which the detector is measured. */
export type MeasuredSplit = Exclude<Split, 'training'>

export const HOLD_MUSIC: Readonly<Record<MeasuredSplit, readonly MusicStyle[]>> = {
  heldOut: HELD_OUT_STYLES,
  validation: VALIDATION_STYLES,
}

interface SplitMaterial {
  readonly sentences: readonly string[]
  readonly voices: readonly [FliteVoice, FliteVoice]
  /** Pitch factors: faster or slower playing sounds like a smaller or larger speaker. */
  readonly pitches: readonly number[]
  /** Added to every seed. */
  readonly seed: number
  /** Style of the music in the caller's surroundings. */
  readonly styleOf: (seed: number) => MusicStyle
}

const oneOf =
  (styles: readonly MusicStyle[]) =>
  (seed: number): MusicStyle =>
    styles[seed % styles.length] as MusicStyle

export const SPLITS: Readonly<Record<Split, SplitMaterial>> = {
  heldOut: {
    sentences: [
      'Where is my order?',
      'My order number is four one two seven.',
      'Yes, that is right.',
      'No, thank you.',
      'I ordered a pair of shoes last Tuesday and they have not come yet.',
      'Could I speak to a person, please?',
      'Seven three nine zero.',
      'Wait a moment, I have to look for the receipt.',
      'It should have been here by noon.',
      'Can you send it to my sister instead?',
      'Hello?',
      'I do not know what you mean by that.',
      'The parcel was open when it came, and half of it is missing.',
      'Okay.',
      'Please cancel it and give me my money back.',
      'How much would that cost me altogether?',
      'No no, the other one, the blue one.',
      'Thanks, bye.',
    ],
    voices: ['rms', 'awb'],
    pitches: [1, 1.12, 0.9, 1.3, 0.95],
    seed: 0,
    styleOf: oneOf(HELD_OUT_STYLES),
  },
  validation: {
    sentences: [
      'I lost my card on the train this morning.',
      'Yes please.',
      'Which of the two is cheaper?',
      'Nine one one eight, then double four.',
      'Hang on, somebody is at the door.',
      'Nimepoteza simu yangu jana usiku.',
      'The engine makes a grinding noise when I turn left.',
      'Good evening.',
      'No, not yet.',
      'Would you spell that for me?',
      'We are four grown people and a baby.',
      'Sawa sawa.',
      'They promised to bring it up to the third floor.',
      'Hm, I see.',
      'Is there a pharmacy open near the station?',
      'Put me through to whoever is in charge of repairs.',
      'Six hundred and eighty.',
      'Never models, I found it.',
      'Goodbye now.',
    ],
    voices: ['slt', 'kal'],
    pitches: [0.89, 1.25, 1.04, 0.81, 1.13],
    seed: 300_000,
    styleOf: oneOf(VALIDATION_STYLES),
  },
  training: {
    sentences: [
      'Good morning.',
      'I would like to book a table for six on Friday evening.',
      'Is the doctor in today?',
      'Um, maybe.',
      'My name is Achieng, and I am calling about the water bill.',
      'Zero seven two two, five five eight, one nine six.',
      'What?',
      'The bus was late again, so I missed the whole thing.',
      'Who told you so?',
      'Half past eleven would suit me best.',
      'Habari ya asubuhi, naomba kusaidiwa tafadhali.',
      'Why does it always have to rain when I hang the washing out?',
      'Right.',
      'She lives behind the big church at the end of Moi Avenue.',
      'Stop, stop, that is far too fast for me.',
      'Fifteen thousand shillings.',
      'Let me think about it and call you back.',
      'Ndiyo, asante sana.',
      'Twenty five percent, are you sure?',
      'Ah, there it is.',
      'Five.',
      'Fish, chips and a small salad for three people.',
      'Each of us paid for himself.',
      'Eh, nobody ever answers this phone.',
      'My daughter starts school in January.',
      'Oh no.',
      'Sheep and cattle crossed the highway just before sunset.',
      'Pole pole, rafiki.',
      'Turn the key twice, push hard, and it opens.',
      'Whose house is that?',
      'The fever went down on Sunday, but he still coughs.',
      'Au revoir, et merci beaucoup.',
      'Hapana, si leo.',
    ],
    voices: ['slt', 'kal'],
    pitches: [1, 0.85, 1.18, 0.93, 1.08, 1.35, 0.78],
    seed: 0,
    styleOf: drawnStyle,
  },
}
