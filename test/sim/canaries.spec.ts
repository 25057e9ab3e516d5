import assert from 'node:assert/strict'
import { loadHash64 } from '../../src/runtime/hash.ts'
import { SIBLING_RULES } from '../../src/testing/checkers/siblings.ts'
import { UNIT_RULE } from '../../src/testing/checkers/units.ts'
import { INDEX_RULE } from '../../src/testing/index-workload.ts'
import { Simulation } from '../../src/testing/simulation.ts'
import { canaries, type Canary, canaryPlan } from './canaries.ts'

/** Goal: to show that the simulator sees the faults that it is there for. Method: plant one, and run seeds until it shows. */
describe('the simulator, given a planted bug', function () {
  // One seed takes two or three seconds; the bound on seeds is what counts.
  this.timeout(600_000)

  /** Seeds within which each must be caught. */
  const SEEDS_MAX = 60
  /** Promises to clients; only a breach of one of these is a catch. */
  const HARM = [
    'quorum reads miss no acknowledged write',
    'quorum reads never go back',
    'acknowledged writes survive',
    'copies converge without being read',
    'no value ends before its time',
    UNIT_RULE,
    INDEX_RULE,
    'a watch tells the last version of every key',
    ...Object.values(SIBLING_RULES)
  ]

  async function isCaught(canary: Canary | undefined, seed: number): Promise<boolean> {
    const { violations } = await new Simulation(canaryPlan(canary, seed), await loadHash64()).run()
    return violations.some(({ rule }) => HARM.includes(rule))
  }

  for (const canary of canaries) {
    it(`sees that ${canary.name}`, async () => {
      for (let seed = canary.hint; seed < canary.hint + SEEDS_MAX; seed++) {
        if (await isCaught(canary, seed)) return
      }
      assert.fail(`${SEEDS_MAX} seeds did not catch it`)
    })
  }

  it('sees nothing where no bug was planted', async () => {
    for (const { hint } of canaries.slice(0, 1)) assert.equal(await isCaught(undefined, hint), false, `seed ${hint}`)
  })
})
