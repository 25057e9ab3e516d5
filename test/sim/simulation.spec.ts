import assert from 'node:assert/strict'
import { loadHash64 } from '../../src/runtime/hash.ts'
import { Simulation } from '../../src/testing/simulation.ts'
import { canaries, canaryPlan } from './canaries.ts'
import { runJob } from './job.ts'
import { scenarios } from './scenarios/index.ts'

/** Seeds of each scenario here; `npm run sim -- --seeds 500` runs many more. */
const SEEDS = Number(process.env['KILOVOLT_SIM_SEEDS'] ?? 2)
/** Seeds within which a planted bug has to be noticed. */
const CANARY_SEEDS = 8
/** Rules that speak of data: a bug in them must be seen as what it is, not as a hang. */
const SAFETY = /acknowledged|miss no|go back/u

describe('the simulator', () => {
  for (const scenario of scenarios.keys()) {
    it(`finds nothing wrong in ${SEEDS} seeds of ${scenario}`, async () => {
      for (let seed = 1; seed <= SEEDS; seed++) {
        const { violations, succeeded } = await runJob({ scenario, seed })
        const replay = `npm run sim -- --scenario ${scenario} --seed ${seed}`
        assert.deepEqual(violations, [], replay)
        assert.ok(succeeded > 0, replay)
      }
    }).timeout(120_000)
  }

  it('does the same again with the same seed, and something else with another', async () => {
    const [first, again, other] = [
      await runJob({ scenario: 'swarm', seed: 7 }),
      await runJob({ scenario: 'swarm', seed: 7 }),
      await runJob({ scenario: 'swarm', seed: 8 })
    ]
    assert.equal(first.hash, again.hash)
    assert.equal(first.events, again.events)
    assert.notEqual(first.hash, other.hash)
  }).timeout(60_000)

  for (const canary of canaries.filter(({ name }) => /C1|one source|quorum of one too few/u.test(name))) {
    it(`notices a planted bug: ${canary.name}`, async () => {
      const hash = await loadHash64()
      const seen: string[] = []
      for (let seed = 1; seed <= CANARY_SEEDS; seed++) {
        const { violations } = await new Simulation(canaryPlan(canary, seed), hash).run()
        seen.push(...violations.map(({ rule }) => rule))
        if (seen.some(rule => SAFETY.test(rule))) return
      }
      assert.fail(`not noticed in ${CANARY_SEEDS} seeds; seen: ${[...new Set(seen)].join(', ')}`)
    }).timeout(120_000)
  }
})
