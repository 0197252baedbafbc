-- Each of the 125 triples of scores falls under exactly one rule.
select
    r.score as r_score,
    f.score as f_score,
    m.score as m_score,
    count(rules.segment) as rules
from generate_series(1, 5) as r (score)
cross join generate_series(1, 5) as f (score)
cross join generate_series(1, 5) as m (score)
left join {{ ref('rfm_segments') }} as rules
    on
        r.score between rules.r_min and rules.r_max
        and f.score between rules.f_min and rules.f_max
        and m.score between rules.m_min and rules.m_max
group by r.score, f.score, m.score
having count(rules.segment) <> 1
