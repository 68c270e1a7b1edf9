import { PHONE_DIGITS, numbered, words } from './language.js'
import type { Language } from './language.js'

const NUMBERS = {
  ...numbered('zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen', 0),
  ...numbered('sixteen seventeen eighteen nineteen', 16),
  ...numbered('twenty thirty forty fifty sixty seventy eighty ninety', 20, 10),
  ...{ oh: 0, o: 0, nought: 0, hundred: 100, thousand: 1000, million: 1e6, billion: 1e9 },
  ...numbered('first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth', 1),
  ...numbered('fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth', 14),
  thirtieth: 30,
}

/** Words of English. */
export const en: Language = {
  claims: {
    not: words(
      'not never no none nothing nobody neither nor cannot unable without instead isnt arent wasnt werent hasnt havent ' +
        'hadnt dont doesnt didnt cant couldnt wont wouldnt shouldnt failed unfortunately ensure sure',
    ),
    if: words('if unless once when whenever whether until till before after provided should suppose soon'),
    asks: words(
      'am are is was were do does did has had shall should would will can could may might must what which who why how ' +
        'where',
    ),
    joins: words(
      'but so because then therefore since while and_i and_ive and_we and_weve and_your and_youre and_you and_the ' +
        'and_there and_theres and_it and_a',
    ),
    breaks: words(
      'will would can could shall may might must want wants need needs going ill youll theyll who which that you ' +
        'is are was were has its thats be being about',
    ),
  },
  numbers: NUMBERS,
  leading: [],
  and: 'and',
  andAfterUnits: false,
  repeats: { double: 2, triple: 3 },
  times: [],
  corrects: words('no sorry wait actually i_mean i_meant'),
  moneySlang: { k: 'thousand', grand: 'thousand' },
  halfMore: words('and_a_half'),
  months: {
    ...numbered('january february march april may june july august september october november december', 1),
    ...numbered('jan feb mar apr may jun jul aug sep oct nov dec', 1),
    sept: 9,
  },
  monthNumber: [],
  dayNumber: [],
  ordinals: {},
  offered: 'one option choice slot time'.split(' '),
  weekdays: 'sunday monday tuesday wednesday thursday friday saturday'.split(' '),
  shortWeekdays: { ...numbered('sun mon tue wed thu fri sat', 0), tues: 2, weds: 3, thur: 4, thurs: 4 },
  through: ['to', 'through', 'until', 'till'],
  daily: ['daily', 'everyday', 'weekdays', 'weekends'],
  days: { 'day after tomorrow': 2, 'day before yesterday': -2, today: 0, tonight: 0, tomorrow: 1, yesterday: -1 },
  nextWeek: words('next_week'),
  nextMonth: words('next_month'),
  next: words('next'),
  clock: {
    hour: words('at'),
    hoursLater: 0,
    minutes: { 'o clock': 0, oclock: 0, sharp: 0 },
    plus: [],
    minus: [],
    before: { 'half past': 30, 'quarter past': 15, 'a quarter past': 15, 'quarter to': -15, 'a quarter to': -15 },
    past: words('past minutes_past after'),
    to: words('to minutes_to before'),
    from: words('from between'),
    named: { noon: 720, midday: 720, midnight: 0 },
    parts: { morning: [4, 12], afternoon: [12, 18], evening: [16, 22], night: [18, 30], tonight: [18, 30] },
  },
  money:
    'kes ksh kshs sh shilling shillings bob ugx tzs usd dollar dollars euro euros eur pound pounds gbp naira rand'.split(
      ' ',
    ),
  cents: ['cent', 'cents'],
  percent: ['percent'],
  parts: ['point', 'half', 'quarter', 'cent', 'cents', 'pence', 'kobo', 'hundreds', 'thousands', 'millions'],
  about: 'about around roughly approximately nearly almost over under than least most'.split(' '),
  articles: ['a', 'an', 'the'],
  is: ['is'],
  lists: ['and', 'or'],
  joins: words(
    'and but or because cause if when while which who than although unless until a an the my your our his their to ' +
      "of for with from into between under near without like as at is are was were am be been would should i'm it's " +
      "that's i've i'll i'd i he she we they such_as double triple plus",
  ),
  hesitations: words('um uh ah er erm hmm let_me_see let_me_think you_know i_mean how_do_i_say'),
  stems: words(
    "i_want i_need i_would_like i'd_like i_wanted i_was_wondering i_was_asking i_am_calling i'm_calling i'm_looking " +
      'i_am_looking i_think can_you could_you can_i could_i do_you can_you_tell can_you_tell_me could_you_tell_me ' +
      'tell_me give_me what_about how_about we_want',
  ),
  yes: words(
    "yes yeah yep yup correct exactly right sure of_course okay ok alright absolutely that's_right that's_correct " +
      'that_is_right that_is_correct it_is i_do i_did i_am i_have go_ahead',
  ),
  no: words("no nope nah not_yet not_really i_don't i_didn't it_isn't it's_not wrong never"),
  noObjection: words('no_problem no_worries no_one'),
  besideYesNo: words("please thanks thank_you sir madam oh ah it is that that's"),
  human: words(
    'human a_human a_person person agent an_agent operator representative colleague a_colleague someone somebody manager ' +
      'the_manager customer_care customer_service connect_me transfer_me real_person',
  ),
  besideHuman: words(
    "please i want_to need_to speak talk to with can could may let me i'd_like_to a an the your real in",
  ),
  slower: words('slower speak_slower speak_slowly talk_slower more_slowly slow_down too_fast you_are_too_fast'),
  questionEnds: [],
  questionWords: words(
    "what which who whom whose when where why how or what's who's where's when's how's can_you_tell could_you_tell " +
      'can_you_give could_you_give could_you_spell can_you_spell can_you_describe could_you_repeat can_you_repeat ' +
      'could_you_say can_you_say may_i_have can_i_have could_i_have may_i_know',
  ),
  requests: words('tell_me give_me say read enter spell your'),
  numbersAsked: {
    'phone number': PHONE_DIGITS,
    'mobile number': PHONE_DIGITS,
    'm pesa number': PHONE_DIGITS,
    'last two digits': [2],
    'last three digits': [3],
    'last four digits': [4],
    'last six digits': [6],
    'four digit': [4],
    'five digit': [5],
    'six digit': [6],
    number: [],
    digits: [],
    code: [],
  },
  polite: ['please'],
  keying: words('key_in key_it key_them enter type_in type_it press keypad'),
  secrets: words('pin pins passcode password secret security_code one_time_code one_time_password otp cvv'),
  numberNouns: ['number', 'numbers', 'code', 'date', 'year'],
  listening: words(
    'mm mmm mhm mm-hm hm uh-huh ah aha oh okay ok right yes yeah sure alright all_right i_see got_it fine great',
  ),
  wait: words(
    'wait wait_a_moment wait_a_minute wait_a_second hold_on hang_on one_moment one_second one_minute just_a_moment ' +
      'just_a_second just_a_minute give_me_a_moment give_me_a_second give_me_a_minute a_moment a_second a_minute',
  ),
  cancel: words(
    'cancel cancel_it cancel_that cancel_the_request cancel_the_payment stop_waiting forget_it forget_about_it ' +
      "never_mind leave_it do_not_wait don't_wait",
  ),
  stop: words('stop stop_it listen listen_to_me excuse_me enough be_quiet'),
  besideWait: words('please okay ok no hey just sorry oh yeah let_me_see let_me_check first'),
  again: words(
    'repeat hello pardon pardon_me sorry? what? what_was_that come_again say_that_again say_again again? can_you_repeat ' +
      "can_you_repeat_that could_you_repeat could_you_repeat_that repeat_that i_didn't_hear i_didn't_hear_you " +
      "i_can't_hear_you i_didn't_catch_that are_you_there excuse_me?",
  ),
  smallTalk: words(
    'hello hi hey good_morning good_afternoon good_evening how_are_you how_are_you_doing how_is_it_going fine ' +
      "i'm_fine i_am_fine and_you thanks thank_you thank_you_very_much nice_to_meet_you bye goodbye",
  ),
  oneMoment: words(
    'one_moment one_second one_minute just_a_moment just_a_second just_a_minute a_moment_please hold_on let_me_check ' +
      "let_me_look let_me_see let_me_find let_me_confirm i'll_check i_will_check i'm_checking bear_with_me i'll_look " +
      'i_will_look looking_that_up checking_that please_wait give_me_a_moment give_me_a_second',
  ),
  ends: words(
    "goodbye that's_all that_is_all that's_it that'll_be_all that_will_be_all nothing_else nothing_more good_bye bye " +
      'have_a_good_day have_a_nice_day have_a_good_one talk_to_you_later',
  ),
  besideEnds: words(
    'no nope ok okay alright all_right great fine good perfect well so then for_now for_today i_think i_guess you_too ' +
      "you_have_been_very_helpful i'm_good and oh yes yeah sir madam",
  ),
  thanks: words(
    'thanks thank_you thank_you_very_much thank_you_so_much thanks_a_lot thanks_so_much thanks_very_much many_thanks cheers',
  ),
  acknowledges: words("ok okay alright all_right fine great good perfect very_well that's_fine"),
  notUnderstood: words(
    "didn't_catch did_not_catch didn't_understand did_not_understand don't_understand do_not_understand " +
      "didn't_get_that did_not_get_that didn't_hear did_not_hear couldn't_hear could_not_hear couldn't_understand " +
      'could_not_understand please_repeat you_repeat say_that_again say_it_again please_say_again',
  ),
  farewells: words('goodbye good_bye bye'),
  common: words(
    'the is are was my your it its that this what where when who how which why i you we they do does did can could would ' +
      'will have has need want please to of for in on at with and but because if not yes no hello good morning name me ' +
      'tell there today tomorrow yesterday time about from been was were am an be meant ' +
      'other english been being get got know think now here out up into over after before again any ' +
      'some all more very much many still back going go come said say see look find give take make made does did were ' +
      'these those their them they he she his her our us than then yours mine never always because there still i by live paid twice already only',
  ),
  form: null,
  borrowed: [
    // Callers often say numbers in English when they speak another language.
    ...Object.keys(NUMBERS),
    ...words(
      'double triple okay ok delivery order orders price cleaning booking appointment reschedule cancel change refund parcel number code ' +
        'message account till paybill bob service phone online offer size shop email data bundle pin sms am pm hello sorry',
    ),
  ],
  oftenNoise: words('thank_you_very_much thank_you thanks you bye okay oh so yeah hmm'),
  stageDirections: words(
    'laughs laughing laughter laugh chuckles chuckling chuckle giggles giggling sighs sighing sigh smiles smiling grins nods ' +
      'nodding shrugs winks waves pauses pausing pause silence whispers whispering whisper coughs coughing gasps sniffs ' +
      'groans yawns hums sings claps cheers breathes inhales exhales clears_throat clearing_throat clears_his clears_her ' +
      'typing types speaking softly gently warmly cheerfully excitedly enthusiastically sympathetically apologetically ' +
      'reassuringly calmly beep music applause short_pause long_pause brief_pause pensive_pause slight_pause',
  ),
}
