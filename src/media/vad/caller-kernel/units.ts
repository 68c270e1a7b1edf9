import { INPUTS } from './features'

const INPUTS_COUNT = 48
const UNITS_BYTES: usize = 32 << 2

/** The model: 32 biases, for each input its weights to all units side by side, 32 weights of the output, the output's bias. */
export const MODEL = memory.data(((32 + 48 * 32 + 32 + 1) << 2) + 12, 16)

/** One hidden layer of 32 rectified units and one output: the log of the odds that `INPUTS` are speech. */
export function odds(): f32 {
  let model = MODEL
  let u0 = v128.load(model), u1 = v128.load(model, 16), u2 = v128.load(model, 32), u3 = v128.load(model, 48)
  let u4 = v128.load(model, 64), u5 = v128.load(model, 80), u6 = v128.load(model, 96), u7 = v128.load(model, 112)
  model += UNITS_BYTES
  for (let input = INPUTS; input < INPUTS + (INPUTS_COUNT << 2); input += 4, model += UNITS_BYTES) {
    const x = v128.load_splat<f32>(input)
    u0 = f32x4.add(u0, f32x4.mul(x, v128.load(model)))
    u1 = f32x4.add(u1, f32x4.mul(x, v128.load(model, 16)))
    u2 = f32x4.add(u2, f32x4.mul(x, v128.load(model, 32)))
    u3 = f32x4.add(u3, f32x4.mul(x, v128.load(model, 48)))
    u4 = f32x4.add(u4, f32x4.mul(x, v128.load(model, 64)))
    u5 = f32x4.add(u5, f32x4.mul(x, v128.load(model, 80)))
    u6 = f32x4.add(u6, f32x4.mul(x, v128.load(model, 96)))
    u7 = f32x4.add(u7, f32x4.mul(x, v128.load(model, 112)))
  }
  const a = f32x4.add(f32x4.add(weighed(u0, model), weighed(u1, model + 16)), f32x4.add(weighed(u2, model + 32), weighed(u3, model + 48)))
  const b = f32x4.add(f32x4.add(weighed(u4, model + 64), weighed(u5, model + 80)), f32x4.add(weighed(u6, model + 96), weighed(u7, model + 112)))
  const total = f32x4.add(a, b)
  return load<f32>(model + UNITS_BYTES)
    + ((f32x4.extract_lane(total, 0) + f32x4.extract_lane(total, 1)) + (f32x4.extract_lane(total, 2) + f32x4.extract_lane(total, 3)))
}

function weighed(units: v128, weights: usize): v128 {
  return f32x4.mul(f32x4.pmax(f32x4.splat(0), units), v128.load(weights))
}
