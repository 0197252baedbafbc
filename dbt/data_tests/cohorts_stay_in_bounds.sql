-- No cohort has more active customers than customers, and in its own month all are active.
select *
from {{ ref('gold_cohort_analysis') }}
where
    active > customers
    or (months_since = 0 and retention <> 1)
