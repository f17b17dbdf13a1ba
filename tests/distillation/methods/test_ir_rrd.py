from distilrec.distillation.methods import IRRRD
from distilrec.testing import MethodContract


class TestIRRRD(MethodContract):
    method = IRRRD(
        interesting=6, uninteresting=10, pool=10, sharpness=5, users=3, other_users=6, user_pool=4, user_sharpness=5
    )
    record = {"kind": "factored"}
