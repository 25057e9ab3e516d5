import { BenchGroup, type Result, withGroups } from './bench-process.ts'
import { KEY_BYTES, type Load, USUAL_LOAD } from './load.ts'
import { benchMemory } from './memory.ts'
import { Ratios, type Report } from './report.ts'
import { benchStartUp } from './start-up.ts'
import type { TargetName } from './target.ts'

/** Of each side of a pair. */
const SECONDS = 0.4
const MEMBERS_MORE = 5
/** Copies of a record that travel: the third is the coordinator's own. */
const COPIES_SENT = 2
/** What a record has beside its key and its value. */
const RECORD_HEAD_BYTES = 16
/** Part of the most that a closed loop reaches at which an open loop runs. */
const OPEN_SHARE = 0.7
const OPEN_SECONDS = 2
const RECORDS = 250_000

/** One side of a pair. */
interface Side {
  readonly group: BenchGroup
  readonly target: TargetName
  readonly load?: Partial<Load>
  readonly pace?: { readonly inFlight: number }
}

/** What is promised of kilovolt's speed, as ratios to its limits: pairs, each measured seconds apart, in so many rounds. */
export async function benchRatios(rounds: number): Promise<Report> {
  const ratios = new Ratios()
  await withGroups([BenchGroup.nodes(), BenchGroup.bare()], async (nodes, bare) => {
    await Promise.all([nodes.warmUp(['kilovolt']), bare.warmUp(['database', 'frames'])])
    for (let round = 0; round < rounds; round++) {
      await beside(ratios, nodes, bare, round)
      await many(ratios, nodes)
      await openLoop(ratios, nodes, bare)
      process.stderr.write(`three processes, round ${round + 1} of ${rounds}\n`)
    }
  })
  await withGroups([BenchGroup.nodes(MEMBERS_MORE)], async nodes => {
    await nodes.warmUp(['kilovolt'])
    for (let round = 0; round < rounds; round++) {
      await strangers(ratios, nodes, round)
      process.stderr.write(`five processes, round ${round + 1} of ${rounds}\n`)
    }
  })
  return ratios.report()
}

/** The ratios, and what takes no rounds: all that is promised, with fewer records than `memory` alone takes. */
export async function benchPromises(rounds: number): Promise<readonly Report[]> {
  return [await benchRatios(rounds), await benchMemory(RECORDS), await benchStartUp(rounds)]
}

function measure({ group, target, load, pace }: Side): Promise<Result> {
  return group.measure(target, { ...USUAL_LOAD, ...load }, { inFlight: 64, seconds: SECONDS, ...pace })
}

/** Both sides of a pair; in every other round the other way round, so that what drifts does not lean to one side. */
async function pair(a: Side, b: Side, round: number): Promise<[Result, Result]> {
  if (round % 2 === 0) {
    const first = await measure(a)
    return [first, await measure(b)]
  }
  const first = await measure(b)
  return [await measure(a), first]
}

/** Beside the bare database and bare frames. */
async function beside(ratios: Ratios, nodes: BenchGroup, bare: BenchGroup, round: number): Promise<void> {
  const local = await pair(
    { group: nodes, target: 'kilovolt', load: { level: 'one' } },
    { group: bare, target: 'database' },
    round
  )
  ratios.add(
    'get at one of a local copy ÷ get of the bare database',
    { least: 0.6 },
    local[0].opsPerSecond,
    local[1].opsPerSecond
  )
  for (const mix of ['get', 'put'] as const) {
    for (const inFlight of [64, 256, 1]) {
      const [kilovolt, frames] = await pair(
        { group: nodes, target: 'kilovolt', load: { mix }, pace: { inFlight } },
        { group: bare, target: 'frames', load: { mix }, pace: { inFlight } },
        round
      )
      const name = `${mix} at quorum ÷ bare frames, ${inFlight} in flight`
      if (inFlight === 1) ratios.add(`${name}: p50, µs`, { most: 1.3 }, kilovolt.p50Us, frames.p50Us)
      else ratios.add(name, { least: 0.8 }, kilovolt.opsPerSecond, frames.opsPerSecond)
    }
  }
  const valueBytes = 1024
  for (const inFlight of [64, 1]) {
    const put = await measure({
      group: nodes,
      target: 'kilovolt',
      load: { mix: 'put', valueBytes },
      pace: { inFlight }
    })
    const recordBytes = KEY_BYTES + RECORD_HEAD_BYTES + valueBytes
    const name = `bytes on the wire of a put of 1 KiB ÷ bytes of its two records sent, ${inFlight} in flight`
    ratios.add(name, { most: 1.5 }, put.wireBytesPerOp, COPIES_SENT * recordBytes)
  }
}

/** Keys a second of operations on many beside single ones. */
async function many(ratios: Ratios, nodes: BenchGroup): Promise<void> {
  for (const [mix, single] of [
    ['getMany', 'get'],
    ['batch', 'put']
  ] as const) {
    const one = await measure({ group: nodes, target: 'kilovolt', load: { mix: single } })
    for (const inFlight of [1, 64]) {
      const all = await measure({ group: nodes, target: 'kilovolt', load: { mix }, pace: { inFlight } })
      const name = `keys of ${mix} of 100, ${inFlight} in flight ÷ ${single}, 64 in flight`
      ratios.add(name, { least: 5 }, all.opsPerSecond, one.opsPerSecond)
    }
  }
}

/** What a request takes that does not wait for others, where there is some room. */
async function openLoop(ratios: Ratios, nodes: BenchGroup, bare: BenchGroup): Promise<void> {
  const load = { mix: '50/50' } as const
  let peak = 0
  for (const inFlight of [64, 256]) {
    const { opsPerSecond } = await measure({ group: nodes, target: 'kilovolt', load, pace: { inFlight } })
    peak = Math.max(peak, opsPerSecond)
  }
  const perSecond = Math.round(peak * OPEN_SHARE)
  const pace = { perSecond, seconds: OPEN_SECONDS }
  const { p999Us } = await nodes.measure('kilovolt', { ...USUAL_LOAD, ...load }, pace)
  const limit = await bare.measure('frames', { ...USUAL_LOAD, ...load }, pace)
  ratios.addFigure('p99.9 of an open loop at 70 % of peak load, 50/50', { most: 20 }, p999Us / 1000, ' ms')
  ratios.addFigure('the same of bare frames at the same rate', undefined, limit.p999Us / 1000, ' ms')
}

/** Callers that have no copy beside those that have one. */
async function strangers(ratios: Ratios, nodes: BenchGroup, round: number): Promise<void> {
  for (const mix of ['get', 'put'] as const) {
    const side = (caller: 'stranger' | 'owner'): Side => ({ group: nodes, target: 'kilovolt', load: { mix, caller } })
    const [stranger, owner] = await pair(side('stranger'), side('owner'), round)
    const name = `${mix} at quorum, N=3 of 5, from a node without a copy ÷ from an owner`
    ratios.add(name, { least: 0.6 }, stranger.opsPerSecond, owner.opsPerSecond)
  }
}
